"""The distributions that go along with what is made: each of one version, known by the SHA-256 of its files.

There is one list, which the service image installs; what else takes distributions along takes those versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parent / "nim" / "requirements.txt"

_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)\s*(;\s*(?P<marker>[^#]*?))?\s*(?P<hashes>--hash=.*)?"
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One distribution. `hashes` are SHA-256 in hexadecimal, of every file of it that may be installed."""

    name: str
    version: str
    hashes: frozenset[str]
    marker: str = ""
    """On which Pythons it is wanted; empty for all."""

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    def line(self) -> str:
        """It as pip reads it."""
        return " ".join([str(self), *(f"--hash=sha256:{each}" for each in sorted(self.hashes))])


def pinned(*names: str) -> tuple[Pin, ...]:
    """Those of these names, in their order. Raises KeyError for a name that is not pinned."""
    found = {pin.name: pin for pin in read(FILE.read_text(encoding="utf-8"))}
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
            hashes=frozenset(_HASH.findall(found["hashes"] or "")),
            marker=found["marker"] or "",
        )
