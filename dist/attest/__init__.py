"""Attestations of an archive: SBOM (CycloneDX), provenance (SLSA in an in-toto statement) and signatures (DSSE).

Imports nothing: `keys` needs `cryptography` and `sbom` needs `cyclonedx`, which are installed with an extra.
"""
