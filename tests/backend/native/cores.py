"""The executor core that this process uses, guests for its tests, and processes that try what could end one."""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from portalis.backend import Program
from portalis.backend.executor import executor_factory as loaded
from portalis.backend.executor.core_library import Core
from tests import parts
from tests.backend import guests
from tests.backend.guests import tensor
from tests.running.garbage import wait_collected

F32 = np.float32
HANGS_S = 100  # a process that takes longer
X = {"x": np.arange(1, 5, dtype=F32).reshape(1, 4)}
# y is x once more, and its shape [x[0]]: the output's shape depends on the data
SHAPED = guests.dlpack(
    guests.ECHO_BODY.replace(
        "(i32.const 0)",
        """(i64.store (i32.load offset=20 (local.get $out))
             (i64.trunc_f32_u (f32.load (i32.load (local.get $in))))) (i32.const 0)""",
    ),
    inputs=[tensor("x")],
    outputs=[tensor("y")],
)
ENDLESS = guests.dlpack("(loop $l (br $l)) (i32.const 0)", inputs=[tensor("x")], outputs=[tensor("y")], batch=8)


class Settings(ctypes.Structure):
    """The settings of the library for the entire process: `struct core_settings`."""

    _fields_ = (
        ("wait_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
        ("rest_ns", ctypes.c_uint64),
        ("most_instances", ctypes.c_uint32),
    )


def change(*values: int) -> None:
    """Have the library keep house by other settings from now on."""
    core().set(ctypes.byref(Settings(*values)))


def core() -> Core:
    """The library. Skips where it is not built, but for CI."""
    found = loaded.native_core()
    if found is None:
        assert not parts.required(), "the executor core is missing: .ci/native"
        pytest.skip("the executor core is not built for this machine: .ci/native")
    return found


@contextlib.contextmanager
def settings(
    *, wait_s: float = 0.5, period_s: float = 5.0, rest_s: float = 60.0, instances: int = 4096
) -> Iterator[None]:
    """Temporarily changes the settings of the library."""
    change(int(wait_s * 1e9), int(period_s * 1e9), int(rest_s * 1e9), instances)
    try:
        yield
    finally:
        change(500_000_000, 5_000_000_000, 60_000_000_000, 4096)


class Instances:
    """The instances that were made since this object was."""

    def __init__(self) -> None:
        with contextlib.suppress(AssertionError):
            wait_collected(lambda: core().instances() == 0, "")
        self._before: int = core().instances()

    def __len__(self) -> int:
        made: int = core().instances()
        return max(made - self._before, 0)

    def go_down_to(self, count: int) -> None:
        """Fail unless so many of them are left once garbage is collected."""
        wait_collected(lambda: len(self) <= count, lambda: f"{len(self)} instances are left, not {count}")


def answer(program: Program, value: float = 1) -> list[float]:
    """The result of `program` for four numbers."""
    x = np.full((1, 4), value, F32)
    return [float(each) for each in program.run({"x": x})["y"].reshape(-1)]


def child(code: str) -> str:
    """The output of a process that runs `code`, with the names of this module imported."""
    prelude = """
import os, sys, threading, time
from portalis.backend import *
from tests.backend.native.cores import *
from tests.backend.room import COUNTING
"""
    command = [sys.executable, "-c", prelude + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-500:]}{done.stderr[-1000:]}"
    return done.stdout
