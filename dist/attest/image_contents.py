"""Distributions that images install and extensions contain, read from the staging directory, which is the final content
of the package."""

from __future__ import annotations

import email.parser
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packaging.utils import canonicalize_name

from ...contracts.artifacts import ContainerArtifact
from ...output.package_layout import CONTAINERS, OMNIVERSE, WASM_RUNTIME
from ...pins import Pin, parse_pins
from ...target import Job

_DOCKERFILE = "Dockerfile"
_REQUIREMENTS = ("requirements.txt", "unverified.txt")
_MAX_METADATA_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledDistribution:
    """A distribution: a wheel in a build context, or one unpacked in an extension, which has no `sha256`. `license`
    is an SPDX expression, or ""."""

    name: str
    version: str
    sha256: str
    license: str

    def is_of(self, name: str, version: str) -> bool:
        """Whether this is version `version` of the distribution `name`."""
        return (canonicalize_name(self.name), self.version) == (canonicalize_name(name), version)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageContext:
    """A build context: the `pins` that pip installs, the `wheels` in the context (none if pip downloads them), the
    SHA-256 digests (hex) of the `modules` and of the files of a `runtime` other than Wasmtime, and the image, if one
    was built."""

    pins: tuple[Pin, ...]
    wheels: tuple[InstalledDistribution, ...]
    modules: frozenset[str]
    runtime: tuple[str, ...]
    artifact: ContainerArtifact | None


def image_contexts(job: Job) -> Iterator[ImageContext]:
    """Yield the build contexts in the staging directory. Raises OSError, and ValueError for requirements that are not
    pinned."""
    built = {
        PurePosixPath(each.dockerfile_path).relative_to(job.output).parent: each
        for each in job.artifacts.nim_containers
    }
    folders = {path.parent for path in job.files if path.name == _DOCKERFILE and path.parts[0] == CONTAINERS.name}
    for folder in sorted(folders):
        files = {path.relative_to(folder): file for path, file in job.files.items() if path.is_relative_to(folder)}
        pins = tuple(
            pin
            for name in _REQUIREMENTS
            if PurePosixPath(name) in files
            for pin in parse_pins((job.staging / folder / name).read_text(encoding="utf-8"))
        )
        yield ImageContext(
            pins=pins,
            wheels=tuple(
                _wheel(job.staging / folder / path, file.sha256)
                for path, file in sorted(files.items())
                if path.suffix == ".whl"
            ),
            modules=frozenset(file.sha256 for path, file in files.items() if path.suffix == ".wasm"),
            runtime=tuple(file.sha256 for path, file in sorted(files.items()) if path.parts[0] == WASM_RUNTIME),
            artifact=built.get(folder),
        )


def unpacked_distributions(job: Job) -> tuple[InstalledDistribution, ...]:
    """Return the distributions unpacked in extensions, found by their METADATA files. Raises OSError."""
    distributions = {}
    for path in sorted(job.files):
        info = path.parent
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        if path.parts[0] == OMNIVERSE.name and path.name == "METADATA" and info.suffix == ".dist-info" and version:
            with (job.staging / path).open("rb") as file:
                license_expression = _license_expression(file.read(_MAX_METADATA_BYTES))
            distributions[name, version] = InstalledDistribution(
                name=name, version=version, sha256="", license=license_expression
            )
    return tuple(distributions.values())


def _wheel(path: Path, sha256: str) -> InstalledDistribution:
    name, version = path.name.split("-")[:2]
    license_expression = _wheel_license(path, f"{name}-{version}.dist-info")
    return InstalledDistribution(name=name, version=version, sha256=sha256, license=license_expression)


def _wheel_license(path: Path, info: str) -> str:
    try:
        with zipfile.ZipFile(path) as wheel, wheel.open(f"{info}/METADATA") as file:
            return _license_expression(file.read(_MAX_METADATA_BYTES))
    except (zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError, EOFError):
        return ""


def _license_expression(metadata: bytes) -> str:
    """The field License-Expression (core metadata 2.4). The older license fields are free text, and are ignored."""
    fields = email.parser.BytesParser().parsebytes(metadata, headersonly=True)
    return str(fields.get("License-Expression", "")).strip()
