"""Instances of a plan: each has all its parts in a store of its own, and is kept, put back to its start, or dropped.

An instance goes back to the factory only after success; after any error it is dropped with everything in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import wasmtime

from .. import messages
from ..compile import engine as engines
from ..compile.engine import TICK_S, deadline_ticks
from ..errors import GuestError, MemoryLimit
from ..limits import Limits
from ..plan import control
from ..plan.planner import Plan
from ..terms import Terms
from . import instances, native
from .faults import GuestExit, NameOf
from .host_state import HostState

OnOutput = Callable[[str, str], None]
T = TypeVar("T")
OWN_BYTES = 2 << 20  # of the adapter's memory, whatever the guest's limit is


class Deadline:
    """When the guest call that starts now must have ended. ``timeout_s`` is in seconds."""

    __slots__ = ("at", "timeout_s")

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.at = time.monotonic() + timeout_s

    def arm(self, store: native.Store) -> None:
        """Have `store` interrupted when the time is over."""
        engines.TICKER.use(self.at)
        store.set_deadline(deadline_ticks(max(self.at - time.monotonic(), TICK_S)), self.timeout_s, self.at)


@dataclass
class Stats:
    """Counters of one program. ``guest_seconds`` is wall time inside guest calls, instantiation included."""

    calls: int = 0
    traps: int = 0
    timeouts: int = 0
    instances: int = 0
    guest_seconds: float = 0.0
    memory_high_water_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class Habit:
    """Whether putting instances back pays for a module: not where most calls make the memory grow anew, as some
    allocators do that take no notice of memory that is already there."""

    __slots__ = ("_grown", "_restored", "pays")

    def __init__(self) -> None:
        self._restored = self._grown = 0
        self.pays = True

    def count(self, grew: bool) -> None:
        """Take note of a call after which the memory had grown, or had not."""
        self._restored += 1
        self._grown += grew
        self.pays = self._grown <= 8 or 4 * self._grown < self._restored


class Box:
    """One instance: its store, the adapter's functions and control block, and the memory that holds the tensors."""

    __slots__ = (
        "_measure",
        "_memory",
        "_raw",
        "_view",
        "dirty",
        "explain",
        "extra",
        "head",
        "host",
        "own",
        "place",
        "restore",
        "rows",
        "run",
        "store",
        "table",
    )

    def __init__(self, store: native.Store, bridge: object, adapter: object) -> None:
        self.store = store
        self.host: HostState | None = None
        self.extra = False  # made on demand because the pool was full
        self.dirty = False  # was called
        self.place, self.run, self.restore, self.explain = (
            self._export(adapter, name) for name in (b"place", b"run", b"restore", b"explain")
        )
        self._raw = native.slots(2)
        self.own = store.memory_view(self._export(bridge, b"memory"))  # never grows
        block = self.own[control.CONTROL_AT : control.FIXED_AT]
        self.rows = block[:8].view(np.int64)
        self.head = block[8 : control.HEADER.size].view(np.uint32)  # passes, generation, message, its bytes, grew
        self.table = block[control.HEADER.size :]
        self._memory = self._export(bridge, b"tensors")
        self._measure = store.memory_meter(self._memory)
        self._view: np.ndarray | None = None

    def _export(self, instance: object, name: bytes) -> native.Extern:
        found = self.store.export(instance, name)
        assert found is not None, name
        return found

    def call(self, function: native.Extern, first: int = 0, second: int = 0, count: int = 1) -> int:
        """Call one of the adapter's functions; its status."""
        raw = self._raw
        raw[0], raw[2] = first, second
        self.store.call(function, raw, count)
        return native.i32(raw[0])

    def tensors(self) -> np.ndarray:
        """The memory that holds the tensors, as uint8."""
        if self._view is None or self._view.size != self._measure():
            self._view = self.store.memory_view(self._memory)
        return self._view

    def message(self) -> str:
        """What the adapter told last."""
        at, size = int(self.head[2]), int(self.head[3])
        return self.own[at : at + size].tobytes().decode("utf-8", "backslashreplace")

    def close(self) -> None:
        """Free the instance now. No array that it gave out may be in use."""
        self._view = None
        self.store.close()


@dataclass(frozen=True)
class Parts:
    """A plan's parts, compiled and linked for one engine."""

    engine: wasmtime.Engine
    guest: wasmtime.InstancePre
    others: tuple[wasmtime.Module, ...]

    def store(self, limits: Limits, terms: Terms, name_of: NameOf, deadline: Deadline) -> native.Store:
        """A store without an instance, whose deadline is running."""
        store = native.Store(
            self.engine,
            memory_bytes=limits.max_memory_bytes,
            max_stack_bytes=limits.max_stack_bytes,
            name_of=name_of,
            advise=lambda timeout_s: terms.more_time(timeout_s, limits.timeout_s),
        )
        deadline.arm(store)
        return store


class Supply:
    """A plan's parts for the engine with a pool and, where that is full, for the one without. `on_demand` makes the
    latter (None: `parts` have no pool)."""

    def __init__(self, parts: Parts, on_demand: Callable[[], Parts] | None) -> None:
        self._parts = parts
        self._make_on_demand = on_demand
        self._on_demand: Parts | None = None

    def start(self, attempt: Callable[[Parts], T], until: float) -> tuple[T, bool]:
        """The result of `attempt`, which makes an instance, and whether that is an extra one, outside the pool. Raises
        HostBusy where this process has no room `until` then."""
        made: list[T] = []
        if self._make_on_demand is None:
            instances.start_on_demand(lambda: made.append(attempt(self._parts)), until)
            return made[0], False
        if instances.start_in_pool(lambda: made.append(attempt(self._parts))):
            return made[0], False
        if self._on_demand is None:
            self._on_demand = self._make_on_demand()
        parts = self._on_demand
        instances.start_on_demand(lambda: made.append(attempt(parts)), until)
        return made[0], True


def out_of_memory(error: MemoryLimit, limits: Limits, terms: Terms) -> MemoryLimit:
    """What to say where a module cannot even be instantiated."""
    return MemoryLimit(
        f"the module needs more memory than its limit of {limits.max_memory_bytes} bytes"
        f" ({terms.raising('max_memory_bytes')}): {error}"
    )


class Boxes:
    """Makes boxes of a plan, and keeps those that may serve again."""

    def __init__(
        self,
        plan: Plan,
        supply: Supply,
        stats: Stats,
        on_output: OnOutput | None,
        name_of: NameOf,
    ) -> None:
        self.plan = plan
        self.stats = stats
        self._supply = supply
        self._on_output = on_output
        self._name_of = name_of
        self._idle: list[Box] = []
        self._habit = Habit()
        instances.register(self)

    def calls(self) -> int:
        """How many calls the program has had."""
        return self.stats.calls

    def idle(self) -> int:
        """How many instances wait for a call."""
        return len(self._idle)

    def give_way(self) -> bool:
        """Drop the instance that has been idle longest, if any; one that is stateful stays.

        Borrowed outputs may still look into it: it is freed with the last of them.
        """
        if self.plan.stateful:
            return False
        try:
            self._idle.pop(0)
        except IndexError:
            return False
        return True

    def acquire(self, deadline: Deadline) -> Box:
        """An instance in its first state, or as it is kept; its deadline is running."""
        try:
            box = self._idle.pop()
        except IndexError:
            return self.make(deadline)
        deadline.arm(box.store)
        if self.plan.keep or not box.dirty:
            return box
        status = box.call(box.restore)
        self._habit.count(bool(box.head[4]))
        if status == control.DONE:
            return box
        box.close()
        return self.make(deadline)

    def release(self, box: Box, *, taken: bool = False) -> None:
        """The call went well. `taken`: somebody keeps views of its memory."""
        self._observe(box)
        if box.extra and not self.plan.stateful:
            return  # else the memory of a busy hour would stay
        if self.plan.keep or not box.dirty or (self.plan.rewinds and not taken and self._habit.pays):
            self._idle.append(box)

    def discard(self, box: Box) -> None:
        """The call failed: nothing of this instance is used again."""
        self._observe(box)
        box.close()

    def close(self) -> None:
        """Let go of the kept instances; those that arrays still look into are freed with them."""
        self._idle.clear()

    # -- making one ------------------------------------------------------------------------------------------------

    def make(self, deadline: Deadline) -> Box:
        """A new instance. Raises HostBusy where this process has no room, GuestError where its start fails."""
        self.stats.instances += 1
        box, extra = self._supply.start(lambda parts: self._instantiate(parts, deadline), deadline.at)
        box.extra = extra
        return box

    def _instantiate(self, parts: Parts, deadline: Deadline) -> Box:
        plan, limits = self.plan, self.plan.limits
        store = parts.store(limits, plan.terms, self._name_of, deadline)
        state = self._give_host(store) if plan.needs_host else None
        try:
            made = [store.instantiate(parts.guest)]
            for number, module in enumerate(parts.others, 1):
                if number == plan.bridge:
                    store.limit_memory(max(limits.max_memory_bytes, OWN_BYTES))
                links = plan.parts[number].links
                found = [store.export(made[link.module], link.name.encode()) for link in links]
                made.append(store.instantiate_with(module, [extern for extern in found if extern is not None]))
            store.limit_memory(limits.max_memory_bytes)
            if plan.initializer is not None:
                self._initialize(store, made[0], plan.initializer)
        except MemoryLimit as error:
            self._forward(state)
            raise out_of_memory(error, limits, plan.terms) from None
        except BaseException:
            self._forward(state)
            raise
        box = Box(store, made[-2], made[-1])
        box.host = state
        return box

    def _give_host(self, store: native.Store) -> HostState:
        config = wasmtime.WasiConfig()
        config.argv = []
        state = store.host_state = HostState(b"", self.plan.limits.max_output_bytes)
        store.set_wasi(config)
        return state

    @staticmethod
    def _initialize(store: native.Store, guest: Any, name: str) -> None:
        """Run the module's `_initialize` or `_start`. A program's runtime may leave `_start` by ``proc_exit(0)``."""
        function = store.export(guest, name.encode())
        assert function is not None, name
        try:
            store.call(function, native.slots(1), 1)
        except GuestExit as leaving:
            if name != "_start":
                raise
            if leaving.code:
                raise GuestError(
                    f"the module's '_start', which initialises each instance, ended with {leaving}, not with 0"
                ) from None

    # -- what is seen of it ----------------------------------------------------------------------------------------

    def _observe(self, box: Box) -> None:
        if self.plan.has_memory:
            size = box.tensors().size
            if size > self.stats.memory_high_water_bytes:
                self.stats.memory_high_water_bytes = size
        self._forward(box.host)

    def _forward(self, state: HostState | None) -> None:
        """Hand on what the guest wrote."""
        if state is None:
            return
        for stream, output in (("stdout", state.stdout), ("stderr", state.stderr)):
            if self._on_output is not None and (output.data or output.dropped):
                for line in output.lines(self.plan.terms.setting("max_output_bytes")):
                    self._on_output(stream, messages.escape(line))
            output.data.clear()
            output.dropped = 0
