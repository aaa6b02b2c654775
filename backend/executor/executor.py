"""The interface of executors, the deadline of a guest call, and the counters of a program."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..batch.coalesce import Pieces

OnOutput = Callable[[str, str], None]
"""A callback for each line that a guest writes: the stream (stdout or stderr) and the line."""


class Deadline:
    """The time at which a guest call that starts now must have ended: ``timeout_s`` seconds from now."""

    __slots__ = ("at", "timeout_s")

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.at = time.monotonic() + timeout_s


class Executor:
    """Runs guest calls of one entry."""

    copies_inputs_once: ClassVar[bool] = False
    """Whether a call reads each byte of inputs of numbers once, in order to copy it to the guest."""

    def run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        """The outputs for `inputs`, both in interface order.

        An input is None if it is optional and absent, otherwise pieces to join along axis 0. With `borrow` the outputs
        can be views of guest memory. Raises InputError, HostBusy or GuestError.
        """
        raise NotImplementedError

    def update_stats(self) -> None:
        """Update the counters of the program that are not updated by each call."""

    def close(self) -> None:
        """Free the idle instances."""


@dataclass
class Stats:
    """Thread-safe counters of one program. ``guest_seconds`` is wall time of guest calls, instantiation included."""

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
        """Count an instance that is created, whether it starts or not."""
        with self._lock:
            self.instances += 1

    def observe_memory(self, size: int) -> None:
        """Record the memory size of an instance, in bytes."""
        if size > self.memory_high_water_bytes:
            with self._lock:
                self.memory_high_water_bytes = max(self.memory_high_water_bytes, size)
