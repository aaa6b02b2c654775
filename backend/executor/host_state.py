"""The host's side of one guest instance: what it reads and writes, and the origin of its clock."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from ..messages import escape

MAX_LINES = 1000  # of one stream in one call: a line costs the log more than its text


@dataclass(slots=True)
class Output:
    """What one guest wrote to one stream, up to a cap; the rest is counted and dropped."""

    cap: int
    fails_past_cap: bool = False  # the guest's write does
    data: bytearray = field(default_factory=bytearray)
    dropped: int = 0

    def lines(self, limit: str) -> list[str]:
        """The captured text, line by line, with a last line that says what was dropped; `limit` is the cap's name."""
        lines = self.data.decode("utf-8", "backslashreplace").splitlines()
        if len(lines) > MAX_LINES:
            lines[MAX_LINES:] = [f"... {len(lines) - MAX_LINES} more lines were dropped (at most {MAX_LINES} are kept)"]
        if self.dropped:
            lines.append(f"... {self.dropped} more bytes were dropped ({limit} is {self.cap})")
        return [escape(line) for line in lines]


class HostState:
    """The streams of one store, the origin of its monotonic clock, its deadline (``time.monotonic()``), whether a host
    function met that, the text of an AssemblyScript abort, and the code that the guest ended itself with."""

    __slots__ = ("abort_message", "began_ns", "deadline", "exit_code", "late", "stderr", "stdin", "stdout")

    def __init__(self, cap: int, stdin: bytes = b"", *, fails_past_cap: bool = False) -> None:
        self.stdin = memoryview(stdin)
        self.stdout, self.stderr = Output(cap, fails_past_cap), Output(cap, fails_past_cap)
        self.exit_code: int | None = None
        self.began_ns = time.monotonic_ns()
        self.start(math.inf)

    def start(self, deadline: float) -> None:
        """A call begins that must end at `deadline`."""
        self.deadline, self.late, self.abort_message = deadline, False, ""

    def is_late(self) -> bool:
        """Whether the deadline has passed, from now on for the whole call."""
        self.late = self.late or time.monotonic() >= self.deadline
        return self.late
