"""The bounds of a document, and the error for a document that exceeds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MAX_DEPTH = 200  # documents nest less than this, and recursive C parsers are safe up to several thousand


class Excess(ValueError):
    """A document exceeds a bound. The message continues a sentence that begins with the document's name."""


class Repeated(ValueError):
    """A document has a duplicate key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits of a document: its size, its number of keys, values and tables together, and their nesting depth.

    A value takes up to about 500 bytes of memory during parsing.
    """

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
            raise Excess(f"has more than {self.max_values} values")

    def check_depth(self, depth: int) -> None:
        """Raise Excess for more than `max_depth`."""
        if depth > self.max_depth:
            raise Excess(f"is nested too deeply: more than {self.max_depth} levels")

    def read(self, path: Path) -> bytes:
        """The content of a file, of which at most `max_bytes` are read. Raises OSError and Excess."""
        with path.open("rb") as file:
            data = file.read(self.max_bytes + 1)
        self.check_bytes(len(data))
        return data


CONFIG_BOUNDS = Bounds(max_bytes=4 << 20, max_values=100_000)
"""Bounds of a file that users write. Python parses about one megabyte per second."""

ATTESTATION_BOUNDS = Bounds(max_bytes=64 << 20, max_values=2_000_000)
"""Bounds of an SBOM or provenance file, which lists every file of an archive."""
