"""Checks a package that somebody has received: it is read as a stream, within limits, and never unpacked to disk.

Nothing is imported here.
"""
