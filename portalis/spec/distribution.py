"""The distribution archive (requirements 2.5)."""

from __future__ import annotations

from pydantic import Field

from .base import Choice, NonEmpty, Path, Structure


class ArchiveFormat(Choice):
    """The format of the archive."""

    TarGz = "TarGz"
    TarBz2 = "TarBz2"
    TarXz = "TarXz"
    Zip = "Zip"
    TarZst = "TarZst"
    """Beyond the requirements."""


class ManifestFormat(Choice):
    """The format of the manifest."""

    JSON = "JSON"
    YAML = "YAML"
    TOML = "TOML"


class ReadmeFormat(Choice):
    """The format of the README."""

    Markdown = "Markdown"
    PlainText = "PlainText"
    RestructuredText = "RestructuredText"


class ChecksumAlgorithm(Choice):
    """The algorithm of a checksum file."""

    SHA256 = "SHA256"
    SHA512 = "SHA512"
    Blake3 = "Blake3"


class PublishMetadata(Structure):
    """Authors and web pages of the package."""

    author: str = ""
    maintainer: str = ""
    homepage: NonEmpty | None = None
    repository: NonEmpty | None = None
    documentation_url: NonEmpty | None = None
    keywords: tuple[NonEmpty, ...] = ()
    categories: tuple[NonEmpty, ...] = ()


class DistributionConfiguration(Structure):
    """The content and the format of the archive."""

    archive_format: ArchiveFormat = ArchiveFormat.TarGz
    fallback_formats: tuple[ArchiveFormat, ...] = ()
    """Formats to try in order if the archive cannot be compressed in `archive_format`, mostly for lack of memory."""
    compression_level: int = Field(default=6, ge=0, le=9)
    include_source_rust: bool = True
    source_exclude: tuple[NonEmpty, ...] = ()
    """Patterns, as in a .gitignore, of Rust source files to exclude, or to include if they begin with !."""
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
    """An SPDX license expression, such as Apache-2.0."""
    generate_checksums: bool = True
    checksum_algorithms: tuple[ChecksumAlgorithm, ...] = (ChecksumAlgorithm.SHA256,)
    sbom: bool = True
    """Whether to write a software bill of materials (CycloneDX), next to the archive and into it."""
    provenance: bool = True
    """Whether to write the provenance (SLSA, as an in-toto statement) next to the archive."""
    signing_key: Path | None = None
    """A PEM file with the private key that signs the provenance. The passphrase is read from the environment."""
    builder_id: NonEmpty | None = None
    """The builder's URI in the provenance, such as that of a CI workflow."""
    publish_metadata: PublishMetadata = PublishMetadata()
