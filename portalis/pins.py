"""Pinned Python distributions: the ones that packages install or contain, each with one version and its files' SHA-256.

All targets use one list, the requirements file of the service images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker

REQUIREMENTS_FILE = Path(__file__).parent / "nim" / "requirements.txt"

# packaging's parser reads no --hash, and writes a marker with other quotes than the file has
_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)\s*(?:;\s*(?P<marker>.*?))?\s*(?P<hashes>--hash=.*)?"
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_LINUX = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "sys_platform": "linux",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One entry of a requirements file."""

    name: str
    version: str
    marker: str = ""
    """The environment marker, as the file has it."""
    hashes: frozenset[str] = frozenset()
    """SHA-256 in hexadecimal of every file that may be installed; empty if they are unknown."""

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    def needed_on(self, python: tuple[int, int]) -> bool:
        """Whether CPython of version `python` on Linux needs the distribution; False if the marker is invalid."""
        if not self.marker:
            return True
        version = f"{python[0]}.{python[1]}"
        # the target's values; packaging takes those that are left out from this machine
        environment = {**_LINUX, "python_version": version, "python_full_version": f"{version}.0"}
        environment["implementation_version"] = f"{version}.0"
        try:
            return Marker(self.marker).evaluate(environment)
        except ValueError:
            return False

    def requirement(self) -> str:
        """The entry in the syntax of pip's requirements files."""
        marker = f" ; {self.marker}" if self.marker else ""
        return " \\\n    ".join([f"{self}{marker}", *(f"--hash=sha256:{each}" for each in sorted(self.hashes))])


def all_pins() -> tuple[Pin, ...]:
    """All entries of the requirements file."""
    return tuple(parse_pins(REQUIREMENTS_FILE.read_text(encoding="utf-8")))


def select_pins(*names: str) -> tuple[Pin, ...]:
    """The pins with these names, in this order. Raises KeyError for a name that is not pinned."""
    pins = {pin.name: pin for pin in all_pins()}
    return tuple(pins[name] for name in names)


def parse_pins(text: str) -> Iterator[Pin]:
    """Parse a requirements file that contains only pins and comments. Raises ValueError for anything else."""
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _PIN.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"expected a pinned requirement (name==version), got {line}")
        yield Pin(
            name=match["name"],
            version=match["version"],
            marker=match["marker"] or "",
            hashes=frozenset(_HASH.findall(match["hashes"] or "")),
        )


def format_pins(pins: Iterable[Pin]) -> str:
    """A requirements file with these pins."""
    return "".join(f"{pin.requirement()}\n" for pin in pins)
