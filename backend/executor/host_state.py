"""Host-side state of one guest instance: its streams, clock origin and deadline."""

from __future__ import annotations

import collections
import ctypes
import math
import time
from dataclasses import dataclass, field
from typing import Any

from ..messages import escape
from ..plan.planner import Plan
from .executor import OnOutput

MAX_LINES = 1000
"""Maximum number of lines logged per stream and call: logging a line costs more than its text."""


@dataclass(slots=True)
class Output:
    """Output of one guest on one stream, up to a cap; the remainder is counted and dropped."""

    cap: int
    """Maximum number of bytes to keep."""
    fails_past_cap: bool = False
    """Whether the guest's write fails once the cap is exceeded."""
    data: bytearray = field(default_factory=bytearray)
    dropped: int = 0
    """Number of bytes beyond the cap."""

    def lines(self, limit_name: str) -> list[str]:
        """The captured lines, and a last line if bytes were dropped; `limit_name` is the setting of the cap."""
        lines = self.data.decode("utf-8", "backslashreplace").splitlines()
        if len(lines) > MAX_LINES:
            lines[MAX_LINES:] = [f"... {len(lines) - MAX_LINES} more lines were dropped (at most {MAX_LINES} are kept)"]
        if self.dropped:
            lines.append(f"... {self.dropped} more bytes were dropped ({limit_name} is {self.cap})")
        return [escape(line) for line in lines]


class GuestLines:
    """Lines that guests wrote, queued until their call is over: the callback can call the program again, or raise."""

    def __init__(self, cap: int, limit_name: str, on_output: OnOutput) -> None:
        self._cap, self._limit_name, self._on_output = cap, limit_name, on_output
        self._queue: collections.deque[tuple[str, str]] = collections.deque()

    @classmethod
    def create(cls, plan: Plan, on_output: OnOutput) -> GuestLines:
        """A queue for the guests of `plan`."""
        return cls(plan.limits.max_output_bytes, plan.setting_names.limit_name("max_output_bytes"), on_output)

    def add(self, _data: Any, stream: int, text: Any, size: int) -> None:
        """Queue the output of one call: the native core's callback. Without a text, `size` bytes were dropped."""
        captured = Output(self._cap)
        if text:
            captured.data += ctypes.string_at(text, size)
        else:
            captured.dropped = size
        self._queue.extend((("stdout", "stderr")[stream], line) for line in captured.lines(self._limit_name))

    def forward(self) -> None:
        """Pass the queued lines to the callback."""
        while True:
            try:
                line = self._queue.popleft()
            except IndexError:
                return
            self._on_output(*line)


class HostState:
    """Host-side state of one store.

    It holds the streams, the origin of the monotonic clock, the deadline of the current call (``time.monotonic()``),
    whether a host function reached the deadline (`late`), the message of an AssemblyScript abort, and the exit code if
    the guest called ``proc_exit``.
    """

    __slots__ = ("abort_message", "began_ns", "deadline", "exit_code", "late", "stderr", "stdin", "stdout")

    def __init__(self, cap: int, stdin: bytes = b"", *, fails_past_cap: bool = False) -> None:
        self.stdin = memoryview(stdin)
        self.stdout, self.stderr = Output(cap, fails_past_cap), Output(cap, fails_past_cap)
        self.exit_code: int | None = None
        self.began_ns = time.monotonic_ns()
        self.start(math.inf)

    def start(self, deadline: float) -> None:
        """Begin a call that must end at `deadline`."""
        self.deadline, self.late, self.abort_message = deadline, False, ""

    def is_late(self) -> bool:
        """Whether the deadline has passed; once true, it stays true for this call."""
        self.late = self.late or time.monotonic() >= self.deadline
        return self.late
