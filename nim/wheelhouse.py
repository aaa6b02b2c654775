"""A folder of wheels to install from: which of them are what the pins mean, and what is wrong with the others."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..digests import file_digest
from ..pins import FILE, Pin
from ..problems import Problem
from ..wheel_files import normalised, takes
from .image_pins import PINNED_PYTHONS

WHERE = "container_config.wheelhouse"
Python = tuple[int, int]

_BASE_PYTHON = re.compile(r"(?:.*/)?python:3\.(\d+)\b.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel, by its file name (https://packaging.python.org, "Binary distribution format"). `name` is normalised."""

    path: Path
    name: str
    version: str
    pythons: frozenset[Python]
    """Of `PINNED_PYTHONS`, those whose interpreters take it on Linux."""

    def sha256(self) -> str:
        """In hexadecimal."""
        found = self.path.stat()
        return _sha256(self.path, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSelection:
    """`pins`, each with hashes, and the `wheels` that they mean: no other goes into an image."""

    pins: tuple[Pin, ...]
    wheels: tuple[Path, ...]
    problems: tuple[Problem, ...] = ()


def select_wheels(folder: Path, pins: Sequence[Pin], base_image: str) -> WheelSelection:
    """The wheels in `folder` for `pins`. A pin without hashes gets those of the wheels of its name and version: who
    fills the folder says what is in them.

    A Python that can be read off the name of `base_image` has to find a wheel for each pin; of any other image it is
    only known that there has to be one Python that does.
    """
    wheels = list(_wheels(folder))
    if not wheels:
        return WheelSelection(
            pins=(), wheels=(), problems=(_problem(f"there are no wheels in {folder}", pins, base_image),)
        )
    chosen, taken, problems = list[Pin](), list[Wheel](), list[Problem]()
    for given in pins:
        found = [wheel for wheel in wheels if (wheel.name, wheel.version) == (normalised(given.name), given.version)]
        pin = given if given.hashes else replace(given, hashes=frozenset(wheel.sha256() for wheel in found))
        right = [wheel for wheel in found if wheel.sha256() in pin.hashes]
        for wheel in sorted({wheel.path.name for wheel in found} - {wheel.path.name for wheel in right}):
            problems.append(
                _problem(f"{folder / wheel} is not the file that the image's pins mean: its SHA-256 differs")
            )
        chosen.append(pin)
        taken += found
    problems += _lacking(folder, pins, taken, base_image)
    wanted = sorted(wheel.path for wheel in taken)
    return WheelSelection(pins=tuple(chosen), wheels=tuple(wanted), problems=tuple(problems))


def base_python(image: str) -> Python | None:
    """The Python of an official image, told by its tag."""
    found = _BASE_PYTHON.fullmatch(image)
    return (3, int(found[1])) if found else None


def _lacking(folder: Path, pins: Sequence[Pin], wheels: Iterable[Wheel], base_image: str) -> Iterator[Problem]:
    fits = {str(pin): set[Python]() for pin in pins}
    names = {(normalised(pin.name), pin.version): str(pin) for pin in pins}
    for wheel in wheels:
        fits[names[wheel.name, wheel.version]] |= wheel.pythons
    known = base_python(base_image)
    candidates = [known] if known is not None else PINNED_PYTHONS
    missing = {
        python: [str(pin) for pin in pins if pin.needed_on(python) and python not in fits[str(pin)]]
        for python in candidates
    }
    # a Python that is not known is the one that most wheels are for
    python, lacks = min(missing.items(), key=lambda item: len(item[1]))
    if lacks:
        which = f"Python {python[0]}.{python[1]} on Linux"
        why = f", which {base_image} has" if known is not None else ""
        yield _problem(f"{folder} has no wheel for {which}{why}, of {', '.join(lacks)}", pins, base_image)


def _problem(message: str, pins: Sequence[Pin] = (), base_image: str = "") -> Problem:
    python = base_python(base_image)
    version = f"{python[0]}.{python[1]}" if python else "VERSION"
    words = ["pip", "download", "--dest", "FOLDER", "--no-deps", "--only-binary=:all:", "--python-version", version]
    words += ["--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64"]
    command = shlex.join([*words, "--requirement", str(FILE)])
    more = "".join(f", and {pin} in the same way" for pin in pins if not pin.hashes)
    return Problem(
        where=WHERE,
        message=message,
        remediation=f"Fill a folder with `{command}`{more}; or leave it out to install from the package index.",
    )


def _wheels(folder: Path) -> Iterator[Wheel]:
    for path in sorted(folder.glob("*.whl")):
        parts = path.stem.split("-")
        if len(parts) not in (5, 6) or not any(each == "any" or "linux" in each for each in parts[-1].split(".")):
            continue
        pythons = frozenset(python for python in PINNED_PYTHONS if takes(python[1], parts[-3], parts[-2]))
        yield Wheel(path=path, name=normalised(parts[0]), version=parts[1], pythons=pythons)


@functools.lru_cache(maxsize=1024)
def _sha256(path: Path, _size: int, _changed: int) -> str:
    return file_digest(path).sha256
