"""The bounds of a document, and the error of one that exceeds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MAX_DEPTH = 200  # every reader nests less; parsers of C that recurse are safe up to several thousand


class Excess(ValueError):
    """A document exceeds a bound. The message is a part of a sentence that begins with the document's name."""


class Repeated(ValueError):
    """A key is given twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`max_bytes` is the document's size, `max_values` its keys, values and tables together, `max_depth` how deep they
    nest. A value takes at most some 500 bytes of memory while it is parsed."""

    max_bytes: int
    max_values: int
    max_depth: int = MAX_DEPTH

    def check_bytes(self, size: int) -> None:
        """Raise Excess for more than `max_bytes`."""
        if size > self.max_bytes:
            raise Excess(f"has more than {self.max_bytes} bytes")

    def check_values(self, count: int) -> None:
        """Raise Excess for more than `max_values`."""
        if count > self.max_values:
            raise Excess(f"holds more than {self.max_values} values")

    def check_depth(self, depth: int) -> None:
        """Raise Excess for more than `max_depth`."""
        if depth > self.max_depth:
            raise Excess(f"is nested too deeply: more than {self.max_depth} levels")

    def read(self, path: Path) -> bytes:
        """The bytes of a file, of which no more than the bound is read. Raises OSError and Excess."""
        with path.open("rb") as file:
            data = file.read(self.max_bytes + 1)
        self.check_bytes(len(data))
        return data


CONFIG_BOUNDS = Bounds(max_bytes=4 << 20, max_values=100_000)
"""Of a file that people write: Python parses about one megabyte per second."""

ATTESTATION_BOUNDS = Bounds(max_bytes=64 << 20, max_values=2_000_000)
"""Bounds of an SBOM or provenance file, which lists every file of an archive."""
