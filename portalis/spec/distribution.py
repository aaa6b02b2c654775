"""The archive that leaves the building (requirements 2.5)."""

from __future__ import annotations

from pydantic import Field

from .base import Choice, NonEmpty, Path, Structure


class ArchiveFormat(Choice):
    """How the archive is packed."""

    TarGz = "TarGz"
    TarBz2 = "TarBz2"
    TarXz = "TarXz"
    Zip = "Zip"
    TarZst = "TarZst"
    """Beyond the requirements."""


class ManifestFormat(Choice):
    """How the manifest is written."""

    JSON = "JSON"
    YAML = "YAML"
    TOML = "TOML"


class ReadmeFormat(Choice):
    """How the README is written."""

    Markdown = "Markdown"
    PlainText = "PlainText"
    RestructuredText = "RestructuredText"


class ChecksumAlgorithm(Choice):
    """What checksum files are made of."""

    SHA256 = "SHA256"
    SHA512 = "SHA512"
    Blake3 = "Blake3"


class PublishMetadata(Structure):
    """Who stands behind the package."""

    author: str = ""
    maintainer: str = ""
    homepage: NonEmpty | None = None
    repository: NonEmpty | None = None
    documentation_url: NonEmpty | None = None
    keywords: tuple[NonEmpty, ...] = ()
    categories: tuple[NonEmpty, ...] = ()


class DistributionConfiguration(Structure):
    """What the archive holds and how it is packed."""

    archive_format: ArchiveFormat = ArchiveFormat.TarGz
    fallback_formats: tuple[ArchiveFormat, ...] = ()
    """Tried in their order where the archive cannot be compressed in `archive_format`, mostly for want of memory."""
    compression_level: int = Field(default=6, ge=0, le=9)
    include_source_rust: bool = True
    source_exclude: tuple[NonEmpty, ...] = ()
    """Patterns as in a .gitignore for what of the Rust source is left out, or, with ! before them, kept."""
    include_test_reports: bool = True
    include_benchmarks: bool = True
    include_documentation: bool = True
    generate_manifest: bool = True
    manifest_format: ManifestFormat = ManifestFormat.JSON
    generate_readme: bool = True
    readme_format: ReadmeFormat = ReadmeFormat.Markdown
    readme_template: Path | None = None
    license_file: Path | None = None
    license_type: NonEmpty | None = None
    """An SPDX expression, such as Apache-2.0."""
    generate_checksums: bool = True
    checksum_algorithms: tuple[ChecksumAlgorithm, ...] = (ChecksumAlgorithm.SHA256,)
    sbom: bool = True
    """Whether a software bill of materials (CycloneDX) is written, beside the archive and into it."""
    provenance: bool = True
    """Whether it is written beside the archive how it came to be (SLSA, as an in-toto statement)."""
    signing_key: Path | None = None
    """A PEM file with the private key that signs the provenance. Its passphrase comes from the environment."""
    builder_id: NonEmpty | None = None
    """A URI for who builds, such as that of a CI workflow, as the provenance has it."""
    publish_metadata: PublishMetadata = PublishMetadata()
