"""The plan of what to publish: manifests, repositories and tags. No registry is contacted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..contracts.artifacts import ContainerArtifact
from ..contracts.published import PublishedKind
from ..errors import UsageError
from ..naming import oci_parts
from ..oci.address import Address
from ..oci.blobs import Blob, blob_of
from ..oci.image_manifest import TITLE_ANNOTATION, ImageManifest, ManifestBlob, canonical_json, empty_config
from .attachments import Attachment, AttestationFile, attestation_files, create_attachments
from .charts import Chart, chart_manifest, read_charts
from .published_package import Package, repository_name

AttestationFiles = tuple[AttestationFile, ...]

_ARCHIVE_TYPE = "application/vnd.portalis.package.v1"
_EXTENSION_TYPE = "application/vnd.portalis.kit-extension.v1"
_WASM_CONFIG_TYPE = "application/vnd.wasm.config.v0+json"
_WASM_LAYER_TYPE = "application/wasm"
_ARCHIVE_MEDIA_TYPES = {
    ".gz": "application/gzip",
    ".bz2": "application/x-bzip2",
    ".xz": "application/x-xz",
    ".zst": "application/zstd",
    ".zip": "application/zip",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedArtifact:
    """An artifact to push, except for an image. `file` is relative to the package, None for a module outside it."""

    kind: PublishedKind
    name: str
    repository: str
    """Without the registry's host."""
    tag: str
    manifest: ImageManifest
    file: PurePosixPath | None
    attached: tuple[Attachment, ...] = ()
    chart: Chart | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePush:
    """An image that the engine pushes. `reference` is its name and tag in the engine; `repository` is without the
    registry's host."""

    reference: str
    repository: str
    tag: str
    image_id: str
    archive: PurePosixPath | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishingPlan:
    """Everything to publish in one registry. `notes` name what cannot be published, with the reason."""

    address: Address
    images: tuple[ImagePush, ...] = ()
    artifacts: tuple[PlannedArtifact, ...] = ()
    notes: tuple[str, ...] = ()

    def reference(self, planned: PlannedArtifact | ImagePush) -> str:
        """The reference under which `planned` is published: registry, repository and tag."""
        return f"{self.address.reference(planned.repository)}:{planned.tag}"


def make_plan(package: Package, address: Address) -> PublishingPlan:
    """Plan what to publish of `package`. Raises UsageError if a file is missing or has changed, or if two artifacts
    would have the same reference, and OSError."""
    notes: list[str] = []
    files = attestation_files(package)
    artifacts = [*_modules(package, address, files, notes), *_archives(package, address, files)]
    artifacts += [*_charts(package, address, files), *_extensions(package, address, files, notes)]
    images = tuple(_image(package, address, image) for image in package.artifacts.nim_containers)
    planned: tuple[PlannedArtifact | ImagePush, ...] = (*images, *artifacts)
    for reference, count in Counter(f"{each.repository}:{each.tag}" for each in planned).items():
        if count > 1:
            raise UsageError(
                f"{count} artifacts would be published as {reference}", remediation="Rename one of them in the spec."
            )
    return PublishingPlan(address=address, images=images, artifacts=tuple(artifacts), notes=tuple(notes))


def _image(package: Package, address: Address, image: ContainerArtifact) -> ImagePush:
    name = image.image_name
    if name.startswith(f"{address}/"):
        repository = name.partition("/")[2]
    else:
        repository = address.repository(oci_parts(name)[1])
    archive = None if image.image_archive_path is None else package.relative_path(image.image_archive_path)
    return ImagePush(
        reference=image.reference,
        repository=repository,
        tag=image.image_tag,
        image_id=image.image_id,
        archive=archive,
    )


def _modules(
    package: Package, address: Address, files: AttestationFiles, notes: list[str]
) -> Iterator[PlannedArtifact]:
    for name, file in package.module_files():
        if file is None:
            notes.append(f"the module {name} is only in the archive, not in a separate file of the package")
            continue
        is_in_package = isinstance(file, PurePosixPath) and not file.is_absolute()
        blob = package.blob(PurePosixPath(file))  # an absolute path is not joined to the package's directory
        manifest = _module_manifest(package, name, blob)
        yield PlannedArtifact(
            kind=PublishedKind.Module,
            name=f"{name}.wasm",
            repository=address.repository(f"{package.name}/modules/{repository_name(name)}"),
            tag=package.tag,
            manifest=manifest,
            file=PurePosixPath(file) if is_in_package else None,
            attached=create_attachments(package, files, blob, manifest, sbom=False),
        )


def _module_manifest(package: Package, name: str, blob: Blob) -> ImageManifest:
    """The manifest of a module, in the CNCF's layout (tag-runtime.cncf.io, "Wasm OCI Artifact layout").

    The layout has two values of `os`: ``wasip1`` for core modules, even if they import nothing of WASI, and ``wasip2``
    for components. It has no artifactType: the config's media type indicates the kind of artifact.
    """
    config = {
        "created": package.manifest.created_at,
        "architecture": "wasm",
        "os": "wasip1",
        "layerDigests": [blob.digest],
    }
    title = f"{name}.wasm"
    return ImageManifest(
        config=ManifestBlob(blob=blob_of(canonical_json(config)), media_type=_WASM_CONFIG_TYPE),
        layers=[_layer(blob, title, _WASM_LAYER_TYPE)],
        annotations=package.annotations(title),
    )


def _archives(package: Package, address: Address, files: AttestationFiles) -> Iterator[PlannedArtifact]:
    for archive in package.artifacts.distribution_archives:
        file = package.relative_path(archive.archive_path)
        media_type = _ARCHIVE_MEDIA_TYPES.get(file.suffix, "application/octet-stream")
        yield _single_file(package, address, files, PublishedKind.Archive, "archive", file, _ARCHIVE_TYPE, media_type)


def _extensions(
    package: Package, address: Address, files: AttestationFiles, notes: list[str]
) -> Iterator[PlannedArtifact]:
    for extension in package.artifacts.omniverse_packages:
        file = package.relative_path(extension.package_path)
        if file.suffix != ".zip":
            notes.append(f"the extension {extension.extension_name} is a directory (package_as_extension is false)")
            continue
        yield _single_file(
            package, address, files, PublishedKind.Extension, "extension", file, _EXTENSION_TYPE, "application/zip"
        )


def _single_file(
    package: Package,
    address: Address,
    files: AttestationFiles,
    kind: PublishedKind,
    name: str,
    file: PurePosixPath,
    artifact_type: str,
    media_type: str,
) -> PlannedArtifact:
    """An artifact with one layer, `file`, in the repository `name` of the package."""
    blob = package.blob(file)
    manifest = ImageManifest(
        config=empty_config(),
        layers=[_layer(blob, file.name, media_type)],
        artifact_type=artifact_type,
        annotations=package.annotations(file.name),
    )
    return PlannedArtifact(
        kind=kind,
        name=file.name,
        repository=address.repository(f"{package.name}/{name}"),
        tag=package.tag,
        manifest=manifest,
        file=file,
        attached=create_attachments(package, files, blob, manifest),
    )


def _charts(package: Package, address: Address, files: AttestationFiles) -> Iterator[PlannedArtifact]:
    for chart in read_charts(package):
        manifest = chart_manifest(package, chart)
        yield PlannedArtifact(
            kind=PublishedKind.Chart,
            name=chart.file_name,
            repository=address.repository(f"{package.name}/charts/{chart.name}"),
            tag=chart.version.replace("+", "_"),  # Helm's convention
            manifest=manifest,
            file=chart.path,
            attached=create_attachments(package, files, manifest.layers[0].blob, manifest),
            chart=chart,
        )


def _layer(blob: Blob, name: str, media_type: str) -> ManifestBlob:
    return ManifestBlob(blob=blob, media_type=media_type, annotations={TITLE_ANNOTATION: name})
