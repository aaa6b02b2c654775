"""Exhausts a process's capacity for instances: the slots of its pool, or its address space."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from portalis.backend import Program
from tests.backend import guests
from tests.backend.guests import tensor

MORE_THAN_THE_POOL = 70
X = {"x": np.ones((1, 4), np.float32)}
# y[0] is the number of calls of this instance
COUNTING = guests.dlpack(
    """(global.set $calls (f32.add (global.get $calls) (f32.const 1)))
    (f32.store (i32.load (local.get $in)) (global.get $calls))"""
    + guests.ECHO_BODY,
    inputs=[tensor("x")],
    outputs=[tensor("y")],
    batch=8,
    more="(global $calls (mut f32) (f32.const 0))",
)
_TOO_LITTLE = 1 << 30  # a memory reserves 4 GiB


def answer(program: Program) -> list[float]:
    """The result of `program`, a guest of x and y, for X."""
    (result,) = program.run_batch([X], borrow=True)
    assert not isinstance(result, Exception), result
    return [float(value) for value in result["y"][0]]


@contextlib.contextmanager
def slots_taken(count: int = MORE_THAN_THE_POOL) -> Iterator[None]:
    """Keep `count` instances that cannot be evicted, because their programs are stateful."""
    programs = [Program.load(COUNTING, isolation="instance") for _ in range(count)]
    try:
        for program in programs:
            assert answer(program) == [1, 1, 1, 1]
        yield
    finally:
        for program in programs:
            program.close()


@contextlib.contextmanager
def address_space_taken() -> Iterator[None]:
    """Make address space for memories of guests unavailable in this process; existing memories are kept."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _TOO_LITTLE, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Make the creation of instances fail in this process."""
    with slots_taken(), address_space_taken():
        yield
