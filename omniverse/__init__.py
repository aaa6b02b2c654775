"""Generates Omniverse Kit extensions: compatibility of modules, the extension's files, its archive and its checks.

This index imports nothing: the generators do not need the runtime, of which an extension contains a copy.
"""
