"""What images install and extensions carry, read from what lies in the staging folder: there it is for certain."""

from __future__ import annotations

import email.parser
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packaging.utils import canonicalize_name

from ...contracts.artifacts import ContainerArtifact
from ...pins import Pin, parse_pins
from ...target import Job
from ..archive.contents import CONTAINERS, OMNIVERSE

DOCKERFILE = "Dockerfile"
REQUIREMENTS = ("requirements.txt", "unverified.txt")
MAX_METADATA = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel in a build context, or what was in one; `license` is an SPDX expression, or empty."""

    name: str
    version: str
    sha256: str
    license: str

    def is_of(self, name: str, version: str) -> bool:
        """Whether it is of this distribution."""
        return (canonicalize_name(self.name), self.version) == (canonicalize_name(name), version)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageContext:
    """A build context: what pip is told to install, the `wheels` that it has for that (none where pip fetches them),
    the SHA-256 (hex) of `modules` and of another `runtime`'s files; and the image, where one was built."""

    pins: tuple[Pin, ...]
    wheels: tuple[Wheel, ...]
    modules: frozenset[str]
    runtime: tuple[str, ...]
    artifact: ContainerArtifact | None


def contexts(job: Job) -> Iterator[ImageContext]:
    """The build contexts in the staging folder. Raises OSError, and ValueError for requirements that are no pins."""
    built = {
        PurePosixPath(each.dockerfile_path).relative_to(job.output).parent: each
        for each in job.artifacts.nim_containers
    }
    folders = {path.parent for path in job.files if path.name == DOCKERFILE and path.parts[0] == CONTAINERS}
    for folder in sorted(folders):
        files = {path.relative_to(folder): file for path, file in job.files.items() if path.is_relative_to(folder)}
        pins = tuple(
            pin
            for name in REQUIREMENTS
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
            runtime=tuple(file.sha256 for path, file in sorted(files.items()) if path.parts[0] == "wasm-runtime"),
            artifact=built.get(folder),
        )


def unpacked(job: Job) -> tuple[Wheel, ...]:
    """The distributions that extensions carry, by their metadata; `sha256` is empty, as no wheel is left. Raises
    OSError."""
    found = {}
    for path in sorted(job.files):
        name, _, version = path.parent.name.removesuffix(".dist-info").partition("-")
        if path.parts[0] == OMNIVERSE and path.name == "METADATA" and path.parent.suffix == ".dist-info" and version:
            with (job.staging / path).open("rb") as file:
                license_told = _license_in(file.read(MAX_METADATA))
            found[name, version] = Wheel(name=name, version=version, sha256="", license=license_told)
    return tuple(found.values())


def _wheel(path: Path, sha256: str) -> Wheel:
    name, version = path.name.split("-")[:2]
    return Wheel(name=name, version=version, sha256=sha256, license=_license(path, f"{name}-{version}.dist-info"))


def _license(path: Path, folder: str) -> str:
    """What the wheel's metadata says (core metadata 2.4). Older ways of saying it are free text, and passed over."""
    try:
        with zipfile.ZipFile(path) as wheel, wheel.open(f"{folder}/METADATA") as file:
            return _license_in(file.read(MAX_METADATA))
    except (zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError, EOFError):
        return ""


def _license_in(metadata: bytes) -> str:
    told = email.parser.BytesParser().parsebytes(metadata, headersonly=True)
    return str(told.get("License-Expression", "")).strip()
