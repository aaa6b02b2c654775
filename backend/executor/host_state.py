"""The host's side of one guest instance: what it reads and writes, and the origin of its clock."""

from __future__ import annotations

import time

MAX_LINES = 1000  # of one stream in one call: a line costs the log more than its text


class Output:
    """What one guest wrote to one stream, up to a cap; the rest is counted and dropped."""

    __slots__ = ("cap", "data", "dropped", "fail_past_cap")

    def __init__(self, cap: int) -> None:
        self.data = bytearray()
        self.cap = cap
        self.dropped = 0
        self.fail_past_cap = False

    def write(self, piece: bytes) -> bool:
        """Take a piece. False (the guest's write fails) once the cap is passed and `fail_past_cap` is set."""
        room = max(self.cap - len(self.data), 0)
        self.data += piece[:room]
        self.dropped += max(0, len(piece) - room)
        return not (self.fail_past_cap and self.dropped)

    def lines(self, limit: str) -> list[str]:
        """The captured text, line by line, with a last line that says what was dropped; `limit` is the cap's name."""
        lines = self.data.decode("utf-8", "backslashreplace").splitlines()
        if len(lines) > MAX_LINES:
            lines[MAX_LINES:] = [f"... {len(lines) - MAX_LINES} more lines were dropped (at most {MAX_LINES} are kept)"]
        if self.dropped:
            lines.append(f"... {self.dropped} more bytes were dropped ({limit} is {self.cap})")
        return lines


class HostState:
    """The streams of one store, the origin of its monotonic clock, and the text of an AssemblyScript abort."""

    __slots__ = ("abort_message", "began_ns", "stderr", "stdin", "stdout")

    def __init__(self, stdin: bytes, cap: int) -> None:
        self.stdin = memoryview(stdin)
        self.stdout = Output(cap)
        self.stderr = Output(cap)
        self.began_ns = time.monotonic_ns()
        self.abort_message = ""
