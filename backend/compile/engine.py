"""wasmtime engines, one per settings and process, and the thread that enforces deadlines.

An engine owns the compiler settings. Deadlines are wasmtime *epochs*: compiled code compares a counter with the store's
deadline at every loop and call, and one thread per process increments the counter.
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
SLACK_S = 2.0
"""Time that the ticker continues after the last deadline. At least half of it remains when a deadline is set."""


@functools.lru_cache(maxsize=1)
def wasmtime_version() -> str:
    """The version of the installed wasmtime package."""
    return importlib.metadata.version("wasmtime")


@dataclass(frozen=True)
class EngineSettings:
    """Settings that change the machine code of an engine, or which modules it accepts.

    Cache keys contain their repr.
    """

    max_stack_bytes: int = 1 << 20
    signals_based_traps: bool = True
    """Whether wasmtime installs signal handlers; without them the code checks addresses itself."""


def engine_config(settings: EngineSettings) -> wasmtime.Config:
    """The wasmtime configuration for `settings`, with the WebAssembly proposals that the sandbox supports.

    Threads (shared memory) are disabled. memory64 cannot be addressed by the tensor ABI. GC, exceptions and function
    references would require a second heap per instance.
    """
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.max_wasm_stack = settings.max_stack_bytes
    # No call is asynchronous, but wasmtime aborts the process if the asynchronous stack is smaller than max_wasm_stack.
    ffi.wasmtime_config_async_stack_size_set(config.ptr(), max(settings.max_stack_bytes, 2 << 20))
    if not settings.signals_based_traps:
        ffi.wasmtime_config_signals_based_traps_set(config.ptr(), False)
        ffi.wasmtime_config_memory_reservation_set(config.ptr(), CHECKED_SLOT_BYTES)
        ffi.wasmtime_config_memory_guard_size_set(config.ptr(), 0)
    if _in_child:  # it lacks the threads of the parent's wasmtime, and would wait for them
        ffi.wasmtime_config_parallel_compilation_set(config.ptr(), False)
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.wasm_gc = False
    config.wasm_function_references = False
    config.wasm_exceptions = False
    return config


class Ticker:
    """Advances the epoch of every engine by wall time, so that a late wake-up does not extend a deadline.

    It runs while a deadline is pending and sleeps otherwise, so an idle server has no wake-ups.
    """

    def __init__(self) -> None:
        self._engines: weakref.WeakSet[wasmtime.Engine] = weakref.WeakSet()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._until = 0.0
        self._ticked = 0.0  # time of the last tick
        self._resting = True

    def add(self, engine: wasmtime.Engine) -> None:
        """Advance the epoch of `engine` from now on."""
        with self._wake:
            self._engines.add(engine)

    def ticks_until(self, deadline: float) -> int:
        """The number of ticks after which `deadline` (``time.monotonic()``) has passed.

        Ticks are counted from the last one. If the next is late, it advances the epochs by all missed ticks.
        """
        if deadline + SLACK_S / 2 > self._until or self._resting:  # otherwise it runs long enough, and needs no lock
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
    """The process's engine for `settings`, created on first use."""
    with _engines_lock:
        engine = _engines.get(settings)
        if engine is None:
            engine = wasmtime.Engine(engine_config(settings))
            _engines[settings] = engine
            _ticker.add(engine)
        return engine


def ticks_until(deadline: float) -> int:
    """`Ticker.ticks_until` of this process's ticker. A function, because a fork replaces the ticker."""
    return _ticker.ticks_until(deadline)


def _after_fork() -> None:
    # Neither the ticker thread nor wasmtime's own threads exist in a forked child.
    global _ticker, _in_child
    inherited = list(_engines.values())
    _engines.clear()
    _ticker, _in_child = Ticker(), True
    for engine in inherited:  # deadlines also apply to programs loaded before the fork
        _ticker.add(engine)


os.register_at_fork(after_in_child=_after_fork)
