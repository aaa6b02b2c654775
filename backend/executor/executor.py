"""What every executor is, its calls' deadlines, and the counters of its program."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..batch.coalesce import Pieces

OnOutput = Callable[[str, str], None]


class Deadline:
    """When the guest call that starts now must have ended. ``timeout_s`` is in seconds."""

    __slots__ = ("at", "timeout_s")

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.at = time.monotonic() + timeout_s


class Executor:
    """Runs the calls of one entry."""

    def run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        """The outputs for `inputs` (interface order; None for an absent optional one; pieces are joined along axis 0).
        With `borrow` they may be views of guest memory. Raises InputError, HostBusy or GuestError."""
        raise NotImplementedError

    def update_stats(self) -> None:
        """Bring the program's counters up to date."""

    def close(self) -> None:
        """Let go of the instances that are kept."""


@dataclass
class Stats:
    """Counters of one program, for any threads. ``guest_seconds`` is wall time inside guest calls, instantiation
    included."""

    calls: int = 0
    traps: int = 0
    timeouts: int = 0
    instances: int = 0
    guest_seconds: float = 0.0
    memory_high_water_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count_call(self, seconds: float, trapped: bool = False, timed_out: bool = False) -> None:
        """Count a guest call that took `seconds`."""
        with self._lock:
            self.calls += 1
            self.traps += trapped
            self.timeouts += timed_out
            self.guest_seconds += seconds

    def count_instance(self) -> None:
        """Count an instance that is made, whether it starts or not."""
        with self._lock:
            self.instances += 1

    def observe_memory(self, size: int) -> None:
        """Take notice of an instance whose memory has `size` bytes."""
        if size > self.memory_high_water_bytes:
            with self._lock:
                self.memory_high_water_bytes = max(self.memory_high_water_bytes, size)
