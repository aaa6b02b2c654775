"""Helm charts as OCI artifacts, in the format that Helm pushes and pulls."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..bounded import Bounds
from ..bounded.yaml_text import parse_yaml
from ..contracts.artifacts import DeploymentType
from ..errors import UsageError
from ..oci.blobs import blob_of
from ..oci.image_manifest import ImageManifest, ManifestBlob, canonical_json
from .published_package import Package

_CONFIG_TYPE = "application/vnd.cncf.helm.config.v1+json"
_LAYER_TYPE = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_MAX_CHART_BYTES = 20 << 20  # Helm's own limit
_MAX_UNPACKED_BYTES = 64 << 20  # searched for Chart.yaml
_MAX_METADATA_BYTES = 1 << 20
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VERSION = re.compile(r"[A-Za-z0-9.+-]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart. `path`, relative to the package, is its directory, or its file if it is packed already. `packed` is the
    content of the packed chart."""

    path: PurePosixPath
    metadata: dict[str, Any]
    packed: bytes

    @property
    def name(self) -> str:
        """The name in Chart.yaml."""
        return str(self.metadata["name"])

    @property
    def version(self) -> str:
        """The version in Chart.yaml."""
        return str(self.metadata["version"])

    @property
    def file_name(self) -> str:
        """The file name of the packed chart."""
        return f"{self.name}-{self.version}.tgz"


def read_charts(package: Package) -> Iterator[Chart]:
    """The charts among the deployment manifests. Raises UsageError for one that Helm would reject, and OSError."""
    seen = set()
    for artifact in package.artifacts.deployment_manifests:
        if artifact.manifest_type is not DeploymentType.Helm:
            continue
        path = package.relative_path(artifact.file_path)
        if path.name == "Chart.yaml":
            path = path.parent
        elif path.suffix != ".tgz" and not (package.folder / path / "Chart.yaml").is_file():
            continue
        if path not in seen:
            seen.add(path)
            yield _read_chart(package.folder / path, path)


def chart_manifest(package: Package, chart: Chart) -> ImageManifest:
    """The OCI manifest of a chart."""
    return ImageManifest(
        config=ManifestBlob(blob=blob_of(canonical_json(chart.metadata)), media_type=_CONFIG_TYPE),
        layers=[ManifestBlob(blob=blob_of(chart.packed), media_type=_LAYER_TYPE)],
        annotations=package.annotations(chart.name) | {"org.opencontainers.image.version": chart.version},
    )


def _read_chart(source: Path, path: PurePosixPath) -> Chart:
    if source.is_dir():
        with (source / "Chart.yaml").open("rb") as file:
            text, packed = file.read(_MAX_METADATA_BYTES + 1), None
    else:
        packed = source.read_bytes() if source.stat().st_size <= _MAX_CHART_BYTES else b""
        text = _packed_metadata(packed, source)
    try:
        metadata = parse_yaml(text.decode(), Bounds(max_bytes=_MAX_METADATA_BYTES, max_values=10_000))
        valid = _NAME.fullmatch(str(metadata["name"])) and _VERSION.fullmatch(str(metadata["version"]))
        canonical_json(metadata)
    except (KeyError, TypeError, ValueError):
        valid = None
    if not valid:
        raise UsageError(
            f"{source} is not a chart: expected a name and a version in its Chart.yaml",
            remediation=f"Set name and version in the Chart.yaml of {source}.",
        )
    packed = _pack_chart(source, metadata["name"]) if packed is None else packed
    return Chart(path=path, metadata=metadata, packed=packed)


def _packed_metadata(packed: bytes, source: Path) -> bytes:
    """The content of Chart.yaml in a packed chart. Raises UsageError."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
            unpacked = stream.read(_MAX_UNPACKED_BYTES)
        with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
            for entry in tar:
                parts = PurePosixPath(entry.name).parts
                if (
                    len(parts) == 2
                    and parts[1] == "Chart.yaml"
                    and entry.isfile()
                    and entry.size <= _MAX_METADATA_BYTES
                ):
                    file = tar.extractfile(entry)
                    return b"" if file is None else file.read()
    except (tarfile.TarError, OSError, EOFError, RecursionError, zlib.error):
        pass
    raise UsageError(
        f"{source} is not a packed chart of at most {_MAX_CHART_BYTES >> 20} MiB", remediation="Pack it with Helm."
    )


def _pack_chart(folder: Path, name: str) -> bytes:
    """The chart as ``NAME/…`` in a compressed tar archive. Equal files give equal bytes."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(f"{name}/{path.relative_to(folder).as_posix()}")
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                tar.addfile(entry, file)
    return packed.getvalue()
