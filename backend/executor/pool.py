"""Gives the pages that the pool keeps resident in its free slots back to the system.

wasmtime clears up to KEEP_RESIDENT_BYTES of a slot by hand when an instance is gone: the next one finds its pages there
(at 16 MiB of tensors that takes a third of the time), but 64 slots keep up to 4 GiB for as long as the process lives.
So some seconds after new instances were made, the free slots are emptied.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import wasmtime

from ..bounds import PAGE
from ..compile.engine import pooled_engines
from ..wasm import assembler as emit
from . import native
from .faults import PoolFull

PERIOD_S = 5.0
_MADV_DONTNEED = 4  # Linux: private pages read as zeros, or as the file, afterwards
_EMPTY = emit.module(
    emit.section(5, emit.vector([b"\0\0"])), emit.section(7, emit.vector([emit.name("memory") + b"\x02\0"]))
)


@functools.lru_cache(maxsize=8)
def _empty(engine: wasmtime.Engine) -> wasmtime.InstancePre:
    return wasmtime.Linker(engine).instantiate_pre(wasmtime.Module(engine, _EMPTY))


def empty_free_slots(engine: wasmtime.Engine) -> int:
    """Empty the free slots of `engine`'s pool, and return how many there were.

    Each is taken by an instance without pages meanwhile, so nobody else can be given it.
    """
    madvise: Any = ctypes.CDLL(None).madvise
    taken: list[native.Store] = []
    try:
        while True:
            store = native.Store(engine, memory_bytes=PAGE)
            taken.append(store)
            memory = store.export(store.instantiate(_empty(engine)), b"memory")
            assert memory is not None
            start, size = store.memory_address(memory), native.KEEP_RESIDENT_BYTES
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)
    except PoolFull:
        return len(taken) - 1
    finally:
        for store in taken:
            store.close()


class Janitor:
    """A thread that empties the free slots of all engines some time after new instances were made, else sleeps."""

    def __init__(
        self, empty: Callable[[wasmtime.Engine], object] = empty_free_slots, period_s: float = PERIOD_S
    ) -> None:
        self.at_work = False
        self._empty = empty
        self._period_s = period_s
        self._due = 0.0
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._in_use: Callable[[], bool] = lambda: False

    def note(self, in_use: Callable[[], bool]) -> None:
        """An instance was made in the pool. `in_use` says whether some instance is called at the moment."""
        if self._due or sys.platform != "linux":
            return
        with self._wake:
            self._due, self._in_use = time.monotonic() + self._period_s, in_use
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wasm-pool", daemon=True)
                self._thread.start()
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._due:
                    self._wake.wait()
            time.sleep(max(0.0, self._due - time.monotonic()))
            self._due = 0.0
            self.at_work = True
            try:
                for engine in pooled_engines():
                    self._empty(engine)
            finally:
                self.at_work = False
            if self._in_use():  # its pages come free later
                self.note(self._in_use)
