"""Reader of LEB128 integers and names in WebAssembly's encoding. Core specification, sections 5.2.2 and 5.2.4."""

from __future__ import annotations

MAX_NAME_BYTES = 100_000
"""Maximum size of a name, as in wasmtime."""


class Truncated(Exception):
    """The bytes end inside a value, or the value is malformed; ``at`` is the offset."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__(f"{what} at offset {at:#x}")
        self.at = at


class TooMuch(Truncated):
    """The bytes are complete, but exceed the limits of any engine."""


class Unsupported(Truncated):
    """The bytes use the WebAssembly proposal with the key `proposal` (see `proposals`)."""

    def __init__(self, at: int, what: str, proposal: str) -> None:
        super().__init__(at, what)
        self.proposal = proposal


class Reader:
    """Reads values from ``data[at:end]`` and advances `at`."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes | memoryview, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else end

    def byte(self) -> int:
        """One byte."""
        if self.at >= self.end:
            raise Truncated(self.at, "the bytes end")
        value: int = self.data[self.at]
        self.at += 1
        return value

    def unsigned(self, bits: int = 32) -> int:
        """An unsigned integer of at most `bits` bits."""
        start, result, shift = self.at, 0, 0
        while True:
            byte = self.byte()
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits:
                raise Truncated(start, "an integer is too long")
        if result >> bits:
            raise Truncated(start, "an integer is too large")
        return result

    def signed(self) -> int:
        """A signed integer of at most 64 bits."""
        start, value = self.at, self.unsigned(70)  # ten bytes
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def skip_integer(self) -> None:
        """Skip a signed or unsigned integer of any width."""
        while self.byte() >= 0x80:
            pass

    def skip(self, size: int) -> None:
        """Skip `size` bytes."""
        if size > self.end - self.at:
            raise Truncated(self.at, f"{size} bytes are announced, {self.end - self.at} are left")
        self.at += size

    def take(self, size: int) -> bytes:
        """`size` bytes."""
        self.skip(size)
        return bytes(self.data[self.at - size : self.at])

    def name(self) -> str:
        """A length-prefixed UTF-8 name."""
        start, size = self.at, self.unsigned()
        if size > MAX_NAME_BYTES:
            raise TooMuch(start, f"a name of {size:,} bytes is too long")
        try:
            return self.take(size).decode("utf-8")
        except UnicodeDecodeError:
            raise Truncated(start, "a name is not UTF-8") from None
