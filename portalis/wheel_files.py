"""Wheels in a directory, described by their file names (packaging.python.org, "Binary distribution format")."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import NormalizedName, parse_wheel_filename
from packaging.version import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFile:
    """A wheel and the parts of its file name."""

    path: Path
    name: NormalizedName
    version: Version
    tags: frozenset[Tag]


def wheel_files(directory: Path) -> Iterator[WheelFile]:
    """The wheels in `directory`, sorted by path. Files whose names are not valid wheel names are skipped."""
    for path in sorted(directory.glob("*.whl")):
        try:
            name, version, _, tags = parse_wheel_filename(path.name)
        except ValueError:
            continue
        yield WheelFile(path=path, name=name, version=version, tags=tags)


def runs_on(tags: Iterable[Tag], python: tuple[int, int], platforms: re.Pattern[str]) -> bool:
    """Whether CPython of version `python` accepts a wheel with these tags, on platforms that match `platforms`.

    The platform is that of a container or of Kit, not of this machine, so packaging's own list of platforms is of no
    use here.
    """
    return any(
        platforms.fullmatch(tag.platform) is not None and (tag.interpreter, tag.abi) in _accepted(python)
        for tag in tags
    )


@functools.cache
def _accepted(python: tuple[int, int]) -> frozenset[tuple[str, str]]:
    """The pairs of interpreter and ABI tags that CPython of version `python` accepts (PEP 425)."""
    interpreter = f"cp{python[0]}{python[1]}"
    # without `abis`, packaging adds the ABI of the running interpreter, which can be a debug or free-threaded build
    native = cpython_tags(python, abis=[interpreter], platforms=["any"])
    pure = compatible_tags(python, interpreter, ["any"])
    return frozenset((tag.interpreter, tag.abi) for tag in (*native, *pure))
