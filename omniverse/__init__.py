"""Omniverse Kit extensions: whether a module can run in one, the extension's tree, its archive, and its check.

Nothing is imported here: the generators run without the runtime, which an extension gets a copy of.
"""
