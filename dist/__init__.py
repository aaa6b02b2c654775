"""Distribution archives: creates one (`archive`), attests it (`attest`) and verifies it (`verify`).

Imports nothing, so that a command that needs one of the three does not load the others.
"""
