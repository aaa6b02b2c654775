"""Distribution archives: what goes into one, how it is packed, and the README, manifest and checksums with it.

Nothing is imported here: a caller that wants one part does not load the others.
"""
