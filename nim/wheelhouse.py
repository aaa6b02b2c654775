"""Selects the wheels of a directory that an image's pins refer to, and checks that the directory has all of them."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from ..digests import file_digest
from ..pins import REQUIREMENTS_FILE, Pin
from ..problems import Problem
from ..wheel_files import WheelFile, runs_on, wheel_files
from .image_pins import PINNED_PYTHONS

_WHERE = "container_config.wheelhouse"
_LINUX = re.compile(r"any|.*linux.*")
_BASE_PYTHON = re.compile(r"(?:.*/)?python:3\.(\d+)\b.*")

Python = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSelection:
    """The wheels to install from. An image gets no other files of the directory."""

    pins: tuple[Pin, ...]
    """The pins, all with hashes."""
    wheels: tuple[Path, ...]
    problems: tuple[Problem, ...] = ()


def select_wheels(directory: Path, pins: Sequence[Pin], base_image: str) -> WheelSelection:
    """Select the wheels in `directory` that `pins` refer to.

    A pin without hashes gets the hashes of the wheels with its name and version: the user who fills the directory
    decides what it contains.

    If the name of `base_image` shows its Python version, each pin needs a wheel for that version. For any other image,
    one of the supported versions must have a wheel for each pin.
    """
    files = [file for file in wheel_files(directory) if any(_LINUX.fullmatch(tag.platform) for tag in file.tags)]
    if not files:
        problem = _problem(f"no wheels found in {directory}", pins, base_image)
        return WheelSelection(pins=(), wheels=(), problems=(problem,))
    selected, matches, problems = list[Pin](), list[WheelFile](), list[Problem]()
    for wanted in pins:
        matching = [file for file in files if (file.name, file.version) == _key(wanted)]
        pin = wanted if wanted.hashes else replace(wanted, hashes=frozenset(_sha256(file.path) for file in matching))
        problems += [
            _problem(f"the SHA-256 of {file.path} differs from that in the image's pins")
            for file in matching
            if _sha256(file.path) not in pin.hashes
        ]
        selected.append(pin)
        matches += matching
    problems += _missing_wheels(directory, pins, matches, base_image)
    paths = sorted(file.path for file in matches)
    return WheelSelection(pins=tuple(selected), wheels=tuple(paths), problems=tuple(problems))


def base_python(image: str) -> Python | None:
    """The Python version of an official `python` image, from its tag; None for other images."""
    match = _BASE_PYTHON.fullmatch(image)
    return (3, int(match[1])) if match else None


def _key(pin: Pin) -> tuple[str, Version]:
    return canonicalize_name(pin.name), Version(pin.version)


def _missing_wheels(
    directory: Path, pins: Sequence[Pin], files: Iterable[WheelFile], base_image: str
) -> Iterator[Problem]:
    supported = {_key(pin): set[Python]() for pin in pins}
    for file in files:
        supported[file.name, file.version] |= {
            python for python in PINNED_PYTHONS if runs_on(file.tags, python, _LINUX)
        }
    known = base_python(base_image)
    missing = {
        python: [str(pin) for pin in pins if pin.needed_on(python) and python not in supported[_key(pin)]]
        for python in ([known] if known is not None else PINNED_PYTHONS)
    }
    # if the version is unknown: the version that the fewest wheels are missing for
    python, names = min(missing.items(), key=lambda item: len(item[1]))
    if names:
        target = f"Python {python[0]}.{python[1]} on Linux"
        reason = f", the version of {base_image}" if known is not None else ""
        yield _problem(f"{directory} has no wheel of {', '.join(names)} for {target}{reason}", pins, base_image)


def _problem(message: str, pins: Sequence[Pin] = (), base_image: str = "") -> Problem:
    python = base_python(base_image)
    version = f"{python[0]}.{python[1]}" if python else "VERSION"
    argv = ["pip", "download", "--dest", "DIRECTORY", "--no-deps", "--only-binary=:all:", "--python-version", version]
    argv += ["--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64"]
    command = shlex.join([*argv, "--requirement", str(REQUIREMENTS_FILE)])
    more = "".join(f", and {pin} in the same way" for pin in pins if not pin.hashes)
    return Problem(
        where=_WHERE,
        message=message,
        remediation=f"Fill a directory with `{command}`{more}; or omit this key to install from the package index.",
    )


def _sha256(path: Path) -> str:
    status = path.stat()
    return _cached_sha256(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _cached_sha256(path: Path, _size: int, _modified_ns: int) -> str:
    return file_digest(path).sha256
