"""Helm charts as OCI artifacts, the way Helm itself pushes and pulls them."""

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
from ..oci.image_manifest import Manifest, Part, encode
from .published_package import Package

CONFIG_TYPE = "application/vnd.cncf.helm.config.v1+json"
LAYER_TYPE = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_LIMIT = 20 << 20  # bytes; Helm itself reads no larger chart
_UNPACKED_LIMIT = 64 << 20  # bytes that are searched for the chart's metadata
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VERSION = re.compile(r"[A-Za-z0-9.+-]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart: a folder, or a file that is packed already, relative to the package."""

    path: PurePosixPath
    metadata: dict[str, Any]
    packed: bytes

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.metadata["name"])

    @property
    def version(self) -> str:
        """Its version."""
        return str(self.metadata["version"])

    @property
    def file_name(self) -> str:
        """What it is called when packed."""
        return f"{self.name}-{self.version}.tgz"


def charts(package: Package) -> Iterator[Chart]:
    """The charts among the deployment manifests. Raises UsageError for one that Helm would not take, and OSError."""
    seen = set()
    for made in package.artifacts.deployment_manifests:
        if made.manifest_type is not DeploymentType.Helm:
            continue
        path = package.relative(made.file_path)
        if path.name == "Chart.yaml":
            path = path.parent
        elif path.suffix != ".tgz" and not (package.folder / path / "Chart.yaml").is_file():
            continue
        if path not in seen:
            seen.add(path)
            yield _read(package.folder / path, path)


def chart_manifest(package: Package, chart: Chart) -> Manifest:
    """The manifest of a chart."""
    return Manifest(
        config=Part(blob=blob_of(encode(chart.metadata)), media_type=CONFIG_TYPE),
        layers=[Part(blob=blob_of(chart.packed), media_type=LAYER_TYPE)],
        annotations=package.annotations(chart.name) | {"org.opencontainers.image.version": chart.version},
    )


def _read(place: Path, path: PurePosixPath) -> Chart:
    if place.is_dir():
        with (place / "Chart.yaml").open("rb") as file:
            text, packed = file.read((1 << 20) + 1), None
    else:
        packed = place.read_bytes() if place.stat().st_size <= _LIMIT else b""
        text = _chart_yaml(packed, place)
    try:
        metadata = parse_yaml(text.decode(), Bounds(max_bytes=1 << 20, max_values=10_000))
        fits = _NAME.fullmatch(str(metadata["name"])) and _VERSION.fullmatch(str(metadata["version"]))
        encode(metadata)
    except (KeyError, TypeError, ValueError):
        fits = None
    if not fits:
        raise UsageError(
            f"{place} is no chart: its Chart.yaml has no name and version",
            remediation=f"Set name and version in the Chart.yaml of {place}.",
        )
    return Chart(path=path, metadata=metadata, packed=_pack(place, metadata["name"]) if packed is None else packed)


def _chart_yaml(packed: bytes, place: Path) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
            unpacked = stream.read(_UNPACKED_LIMIT)
        with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
            for entry in tar:
                parts = PurePosixPath(entry.name).parts
                if len(parts) == 2 and parts[1] == "Chart.yaml" and entry.isfile() and entry.size <= 1 << 20:
                    found = tar.extractfile(entry)
                    return b"" if found is None else found.read()
    except (tarfile.TarError, OSError, EOFError, RecursionError, zlib.error):
        pass
    raise UsageError(f"{place} is no packed chart of at most {_LIMIT >> 20} MiB", remediation="Pack it with Helm.")


def _pack(folder: Path, name: str) -> bytes:
    """The chart as ``NAME/…`` in a tar archive, the same bytes for the same files."""
    written = io.BytesIO()
    with gzip.GzipFile(fileobj=written, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(f"{name}/{path.relative_to(folder).as_posix()}")
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                tar.addfile(entry, file)
    return written.getvalue()
