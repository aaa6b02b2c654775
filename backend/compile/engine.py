"""One wasmtime engine per settings and process, and the thread that makes deadlines happen.

An engine owns the compiler settings. Deadlines are wasmtime *epochs*: compiled code
compares a counter with the store's deadline at every loop and call, and one thread per process moves the counter.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import threading
import time
import weakref
from dataclasses import dataclass

import wasmtime
from wasmtime import _ffi as ffi

from ..constants import CHECKED_SLOT_BYTES

TICK_S = 0.01
MAX_TIMEOUT_S = 1e9
SLACK_S = 2.0  # how long the ticker runs on after the last deadline; half of it at least: ticks come after the deadline


@functools.lru_cache(maxsize=1)
def wasmtime_version() -> str:
    """The version of the installed wasmtime package."""
    return importlib.metadata.version("wasmtime")


@dataclass(frozen=True)
class EngineSettings:
    """Everything that changes the machine code that an engine makes, or what it accepts: its text is part of the keys
    of a cache."""

    max_stack_bytes: int = 1 << 20
    signals_based_traps: bool = True  # without, code checks its addresses itself, and no signal handler is installed


def engine_config(settings: EngineSettings) -> wasmtime.Config:
    """The wasmtime configuration for `settings`: what DESIGN calls the sandbox's language level.

    Threads (shared memory) are refused; memory64 cannot be addressed by the tensor ABI; GC, exceptions and function
    references would need a second heap per instance.
    """
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.max_wasm_stack = settings.max_stack_bytes
    # There are no asynchronous calls, but wasmtime ends the process where their stack is smaller than the other.
    ffi.wasmtime_config_async_stack_size_set(config.ptr(), max(settings.max_stack_bytes, 2 << 20))
    if not settings.signals_based_traps:
        ffi.wasmtime_config_signals_based_traps_set(config.ptr(), False)
        ffi.wasmtime_config_memory_reservation_set(config.ptr(), CHECKED_SLOT_BYTES)
        ffi.wasmtime_config_memory_guard_size_set(config.ptr(), 0)
    if _in_child:  # which lacks the threads of the parent's wasmtime, and would wait for them
        ffi.wasmtime_config_parallel_compilation_set(config.ptr(), False)
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.wasm_gc = False
    config.wasm_function_references = False
    config.wasm_exceptions = False
    return config


class Ticker:
    """Moves the epoch of every engine by wall time, so that a late wake-up never lengthens a deadline.

    It runs while a deadline is ahead and sleeps otherwise, so an idle server has no wake-ups.
    """

    def __init__(self) -> None:
        self._engines: weakref.WeakSet[wasmtime.Engine] = weakref.WeakSet()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._until = 0.0
        self._ticked = 0.0  # when the epochs were moved last
        self._resting = True

    def add(self, engine: wasmtime.Engine) -> None:
        """Let the ticker move `engine`'s epoch from now on."""
        with self._wake:
            self._engines.add(engine)

    def ticks_until(self, deadline: float) -> int:
        """How many ticks from now on `deadline` (``time.monotonic()``) has surely passed. They are counted from the
        last one, however late the next is, which moves the epochs by all that were missed."""
        if deadline + SLACK_S / 2 > self._until or self._resting:  # else it runs well past that: no lock for most calls
            self._use(deadline)
        left_s = max(deadline, time.monotonic() + TICK_S) - self._ticked
        return int(min(left_s, MAX_TIMEOUT_S) / TICK_S) + 2

    def _use(self, until: float) -> None:
        with self._wake:
            self._until = max(self._until, until + SLACK_S)
            if self._resting:
                self._resting, self._ticked = False, time.monotonic()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="wasm-epoch", daemon=True)
                    self._thread.start()
                self._wake.notify()

    def _run(self) -> None:
        while True:
            time.sleep(TICK_S)
            now = time.monotonic()
            ticks = int((now - self._ticked) / TICK_S)
            with self._wake:
                for engine in self._engines:
                    for _ in range(ticks):
                        engine.increment_epoch()
                self._ticked += ticks * TICK_S
                if now > self._until:
                    self._resting = True
                    while self._resting:
                        self._wake.wait()


_ticker = Ticker()
_in_child = False  # of a fork
_engines: dict[EngineSettings, wasmtime.Engine] = {}
_engines_lock = threading.Lock()


def engine_for(settings: EngineSettings) -> wasmtime.Engine:
    """The process's engine for `settings`, made on first use."""
    with _engines_lock:
        engine = _engines.get(settings)
        if engine is None:
            engine = wasmtime.Engine(engine_config(settings))
            _engines[settings] = engine
            _ticker.add(engine)
        return engine


def ticks_until(deadline: float) -> int:
    """`Ticker.ticks_until` of this process's ticker, which a fork replaces."""
    return _ticker.ticks_until(deadline)


def _after_fork() -> None:
    # Neither the ticker thread nor wasmtime's own threads exist in a forked child.
    global _ticker, _in_child
    before = list(_engines.values())
    _engines.clear()
    _ticker, _in_child = Ticker(), True
    for engine in before:  # deadlines hold for the programs of before, too
        _ticker.add(engine)


os.register_at_fork(after_in_child=_after_fork)
