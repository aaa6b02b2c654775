"""What runs inside Kit: these modules are copied into every extension, beside those that are made for it alone.

They run on Python 3.10 to 3.12 without portalis. Only `extension`, `frames`, `log` and `window` know Kit, and only
`attributes` knows USD, so that the rest is tested without either.
"""
