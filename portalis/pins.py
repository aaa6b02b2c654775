"""The distributions that go along with what is made: each of one version, known by the SHA-256 of its files.

There is one list, which the service image installs; what else takes distributions along takes those versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parent / "nim" / "requirements.txt"

_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)\s*(?:;\s*(?P<marker>.*?))?\s*(?P<hashes>--hash=.*)?"
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_OLDER_PYTHON = re.compile(r"python_full_version < '3\.(\d+)'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One line of a requirements file. `hashes` are SHA-256 in hexadecimal, of every file that may be installed; there
    are none where nobody has told them."""

    name: str
    version: str
    marker: str = ""
    hashes: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    def needed_on(self, python: tuple[int, int]) -> bool:
        """Whether this Python wants it; False too for a marker that asks for more than the Python's version."""
        if not self.marker:
            return True
        found = _OLDER_PYTHON.fullmatch(self.marker)
        return found is not None and python < (3, int(found[1]))

    def line(self) -> str:
        """It as pip reads it."""
        marker = f" ; {self.marker}" if self.marker else ""
        return " \\\n    ".join([f"{self}{marker}", *(f"--hash=sha256:{each}" for each in sorted(self.hashes))])


def listed() -> tuple[Pin, ...]:
    """All of the list."""
    return tuple(read(FILE.read_text(encoding="utf-8")))


def pinned(*names: str) -> tuple[Pin, ...]:
    """Those of these names, in their order. Raises KeyError for a name that is not pinned."""
    found = {pin.name: pin for pin in listed()}
    return tuple(found[name] for name in names)


def read(text: str) -> Iterator[Pin]:
    """The pins in a requirements file, which has nothing else. Raises ValueError."""
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        found = _PIN.fullmatch(line.strip())
        if found is None:
            raise ValueError(f"no pin: {line}")
        yield Pin(
            name=found["name"],
            version=found["version"],
            marker=found["marker"] or "",
            hashes=frozenset(_HASH.findall(found["hashes"] or "")),
        )


def written(each: Iterable[Pin]) -> str:
    """A requirements file of these pins."""
    return "".join(f"{pin.line()}\n" for pin in each)
