"""Publishes a package in an OCI registry: images, modules, archive, chart and extension, with SBOM and provenance.

Imports nothing: `publishing_plan` and `push` need urllib3, which is an extra, while `publishing_target` is loaded in
every run.
"""
