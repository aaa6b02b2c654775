"""Publishing a package in an OCI registry: images, modules, archive, chart, extension, with SBOM and provenance."""
