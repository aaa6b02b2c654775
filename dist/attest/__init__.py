"""Signatures: keys, the passphrases that open them, and the DSSE envelopes that they seal.

Nothing is imported here: only `keys` needs the `cryptography` package, which is an extra.
"""
