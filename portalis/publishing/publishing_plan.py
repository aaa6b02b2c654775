"""What is to be published, before any registry is asked: which manifests, under which names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ..contracts.artifacts import ContainerArtifact
from ..contracts.published import PublishedKind
from ..errors import UsageError
from ..naming import oci_parts
from ..oci.address import Address
from ..oci.blobs import Blob
from ..oci.image_manifest import TITLE, Manifest, Part, empty_config
from .attachments import Attachment, Paper, attachments, papers
from .charts import Chart, chart_manifest, charts
from .published_package import Package, repository_name
from .wasm import module_manifest

Papers = tuple[Paper, ...]

ARCHIVE_TYPE = "application/vnd.portalis.package.v1"
EXTENSION_TYPE = "application/vnd.portalis.kit-extension.v1"
_PACKED = {
    ".gz": "application/gzip",
    ".bz2": "application/x-bzip2",
    ".xz": "application/x-xz",
    ".zst": "application/zstd",
    ".zip": "application/zip",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedArtifact:
    """An artifact of the registry. `file` is relative to the package, None where the module lies elsewhere."""

    kind: PublishedKind
    name: str
    repository: str
    """Without the registry's host."""
    tag: str
    manifest: Manifest
    file: PurePosixPath | None
    attached: tuple[Attachment, ...] = ()
    chart: Chart | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """An image, which the engine pushes: `reference` is what it calls it."""

    reference: str
    repository: str
    tag: str
    image_id: str
    archive: PurePosixPath | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishingPlan:
    """All of it, and what cannot be published."""

    address: Address
    images: tuple[PlannedImage, ...] = ()
    artifacts: tuple[PlannedArtifact, ...] = ()
    notes: tuple[str, ...] = field(default=())


def make_plan(package: Package, address: Address) -> PublishingPlan:
    """What there is to publish of `package`. Raises UsageError for files that are gone or have changed, and where two
    things would have one name; OSError."""
    notes: list[str] = []
    known = papers(package)
    artifacts = [*_modules(package, address, known, notes), *_archives(package, address, known)]
    artifacts += [*_charts(package, address, known), *_extensions(package, address, known, notes)]
    images = tuple(_image(package, address, image) for image in package.artifacts.nim_containers)
    everything: tuple[PlannedArtifact | PlannedImage, ...] = (*images, *artifacts)
    taken = Counter(f"{each.repository}:{each.tag}" for each in everything)
    for reference, count in taken.items():
        if count > 1:
            raise UsageError(
                f"{count} things would be published as {reference}", remediation="Rename one of them in the spec."
            )
    return PublishingPlan(address=address, images=images, artifacts=tuple(artifacts), notes=tuple(notes))


def _image(package: Package, address: Address, image: ContainerArtifact) -> PlannedImage:
    name = image.image_name
    if not name.startswith(f"{address}/"):
        repository = address.repository(oci_parts(name)[1])
    else:
        repository = name.partition("/")[2]
    archive = None if image.image_archive_path is None else package.relative(image.image_archive_path)
    return PlannedImage(
        reference=image.reference,
        repository=repository,
        tag=image.image_tag,
        image_id=image.image_id,
        archive=archive,
    )


def _modules(package: Package, address: Address, known: Papers, notes: list[str]) -> Iterator[PlannedArtifact]:
    for name, file in package.module_files():
        if file is None:
            notes.append(f"the module {name} is in no file of the package but its archive, and is not published alone")
            continue
        inside = file if isinstance(file, PurePosixPath) and not file.is_absolute() else None
        blob = package.blob(PurePosixPath(file))  # an absolute path stays as it is
        manifest = module_manifest(package, name, blob)
        yield PlannedArtifact(
            kind=PublishedKind.Module,
            name=f"{name}.wasm",
            repository=address.repository(f"{package.name}/modules/{repository_name(name)}"),
            tag=package.tag,
            manifest=manifest,
            file=inside,
            attached=attachments(package, known, blob, manifest, sbom=False),
        )


def _archives(package: Package, address: Address, known: Papers) -> Iterator[PlannedArtifact]:
    for archive in package.artifacts.distribution_archives:
        file = package.relative(archive.archive_path)
        kind, media_type = PublishedKind.Archive, _PACKED.get(file.suffix, "application/octet-stream")
        yield _single(package, address, known, kind, "archive", file, ARCHIVE_TYPE, media_type)


def _extensions(package: Package, address: Address, known: Papers, notes: list[str]) -> Iterator[PlannedArtifact]:
    for extension in package.artifacts.omniverse_packages:
        file = package.relative(extension.package_path)
        if file.suffix != ".zip":
            notes.append(f"the extension {extension.extension_name} is a folder (package_as_extension is false)")
            continue
        yield _single(
            package, address, known, PublishedKind.Extension, "extension", file, EXTENSION_TYPE, "application/zip"
        )


def _single(
    package: Package,
    address: Address,
    known: Papers,
    kind: PublishedKind,
    name: str,
    file: PurePosixPath,
    artifact_type: str,
    media_type: str,
) -> PlannedArtifact:
    """An artifact of one file."""
    blob = package.blob(file)
    manifest = Manifest(
        config=empty_config(),
        layers=[_file(blob, file.name, media_type)],
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
        attached=attachments(package, known, blob, manifest),
    )


def _charts(package: Package, address: Address, known: Papers) -> Iterator[PlannedArtifact]:
    for chart in charts(package):
        manifest = chart_manifest(package, chart)
        yield PlannedArtifact(
            kind=PublishedKind.Chart,
            name=chart.file_name,
            repository=address.repository(f"{package.name}/charts/{chart.name}"),
            tag=chart.version.replace("+", "_"),  # as Helm has it
            manifest=manifest,
            file=chart.path,
            attached=attachments(package, known, manifest.layers[0].blob, manifest),
            chart=chart,
        )


def _file(blob: Blob, name: str, media_type: str) -> Part:
    return Part(blob=blob, media_type=media_type, annotations={TITLE: name})
