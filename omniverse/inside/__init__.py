"""Modules that run inside Kit: they are copied into every extension, in addition to its generated modules.

They run on Python 3.10 to 3.12 without portalis. Only `actions`, `extension`, `frames`, `integration` and `window`
import Kit, and only `attributes` and `scenario` import USD, so that the other modules can be tested without either.
"""
