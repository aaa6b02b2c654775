"""A guest instance in a store of its own, and the factory that makes, keeps and drops them.

An instance goes back to the factory only after success; after any error it is dropped with everything in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import wasmtime

from .. import messages
from ..compile import engine as engines
from ..compile.engine import TICK_S, deadline_ticks
from ..errors import GuestError, MemoryLimit
from ..limits import Limits
from ..plan.buffers import Allocator, Block
from ..plan.rewind import SPARE_BYTES, Habit, Snapshot
from ..terms import Terms
from . import instances, native
from .faults import GuestExit, NameOf
from .host_state import HostState

OnOutput = Callable[[str, str], None]


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


class Sandbox:
    """One instance: its store, memory, functions by name, and the block that holds its tensors."""

    __slots__ = (
        "_args",
        "_at",
        "_exports",
        "_measure",
        "_memory",
        "argv",
        "block",
        "deadline",
        "extra",
        "globals_exposed",
        "host",
        "instance",
        "latest",
        "loop",
        "mapped",
        "memory_limit",
        "snapshot",
        "store",
        "used",
    )

    def __init__(self, store: native.Store, memory_limit: int) -> None:
        self.store = store
        self.memory_limit = memory_limit
        self.instance: object = None
        self.host: HostState | None = None
        self.loop: Sandbox | None = None
        self.block: Block | None = None
        self.argv: list[str] = []
        self.deadline: Deadline | None = None  # of the call that it was made for
        self.extra = False  # made on demand because the pool was full
        self.used = False
        self.mapped: Any = None  # a runner's views of this memory
        self.globals_exposed: tuple[str, ...] | None = None  # of a module whose instances can be rewound
        self.snapshot: Snapshot | None = None
        self._memory: native.Extern | None = None
        self._exports: dict[bytes, native.Extern | None] = {}
        self._args = native.slots(4)
        self.latest: np.ndarray | None = None  # what `view` gave last: the memory grows only while the guest runs
        self._measure: Callable[[], int] | None = None
        self._at = 0  # where the block lay last

    def export(self, name: bytes) -> native.Extern | None:
        """What the instance exports as `name`, looked up once."""
        if name not in self._exports:
            self._exports[name] = self.store.export(self.instance, name)
        return self._exports[name]

    def function(self, name: bytes) -> native.Extern:
        """The exported function `name`, which inspection has seen."""
        found = self.export(name)
        assert found is not None, name
        assert found.is_function, name
        return found

    def call_u32(self, name: bytes, *args: int) -> int:
        """Call an export of up to four i32 parameters; its i32 result unsigned (0 where it has none)."""
        raw = self._args
        for i, value in enumerate(args):
            raw[2 * i] = value
        if not args:
            raw[0] = 0
        self.store.call(self.function(name), raw, max(len(args), 1))
        return native.u32(raw[0])

    # -- memory ----------------------------------------------------------------------------------------------------

    @property
    def memory(self) -> native.Extern:
        """The exported linear memory."""
        if self._memory is None:
            self._memory = self.export(b"memory")
        assert self._memory is not None
        return self._memory

    def memory_size(self) -> int:
        """Bytes of linear memory now."""
        return self.store.memory_size(self.memory)

    def grow(self, pages: int) -> bool:
        """Grow the memory; False where the limit forbids it."""
        return self.store.memory_grow(self.memory, pages)

    def holds(self, size: int) -> bool:
        """Whether the block has room for `size` bytes of tensors, and not so much more that clearing it would cost more
        than a new instance."""
        return self.block is None or size <= self.block.capacity <= size + max(size, SPARE_BYTES)

    def reserve(self, size: int) -> int:
        """The address of a block of at least `size` bytes for tensors. Raises MemoryLimit where there is no room."""
        assert self.block is not None
        at = self.block.reserve(self, size)
        if at != self._at:
            # Every prepared call compares its view with `latest`: a new view says that its addresses are stale.
            self._at, self.latest = at, None
        if self.globals_exposed is not None and not self.used:
            self.snapshot = Snapshot.of(self, self.globals_exposed)
        return at

    def view(self) -> np.ndarray:
        """The whole linear memory as uint8; made anew when it has grown or the block has moved, so that it stands for
        the addresses of a prepared call as well. Holds no reference to the store's owner beyond the sandbox's own."""
        if self._measure is None:
            self._measure = self.store.memory_meter(self.memory)
        if self.latest is None or self.latest.size != self._measure():
            self.latest = self.store.memory_view(self.memory)
        return self.latest

    def forget(self) -> None:
        """Forget an instance that could not be made, and what it wrote."""
        self.instance = self.loop = self.latest = self._memory = self._measure = None
        self._exports.clear()
        if self.host is not None:
            for output in (self.host.stdout, self.host.stderr):
                output.data.clear()
                output.dropped = 0

    def close(self) -> None:
        """Free the instance now. No array that it gave out may be in use."""
        self.latest = None
        self.store.close()


@dataclass(frozen=True)
class Parts:
    """What is compiled and linked for one engine."""

    engine: wasmtime.Engine
    pre: wasmtime.InstancePre
    loop_module: wasmtime.Module | None


@dataclass(frozen=True)
class Recipe:
    """What is the same for every sandbox of a program.

    `on_demand` makes the parts for an engine without a pool (None: `parts` are). `keep` has an instance serve again as
    it is, `stateful` says that its guest may count on that.
    """

    parts: Parts
    on_demand: Callable[[], Parts] | None
    limits: Limits
    host_needed: bool
    initializer: bytes | None
    allocator: Allocator | None
    own_maximum: int | None
    loop_imports: tuple[bytes, ...]
    keep: bool
    stateful: bool
    has_memory: bool
    globals_exposed: tuple[str, ...] | None
    on_output: OnOutput | None
    name_of: NameOf
    terms: Terms

    def advise(self, timeout_s: float) -> str:
        """What to do about a call that was stopped after `timeout_s`."""
        return self.terms.more_time(timeout_s, self.limits.timeout_s)


class SandboxFactory:
    """Makes sandboxes. One that succeeded serves again with ``recipe.keep``, or once it was rewound to its start."""

    def __init__(self, recipe: Recipe, stats: Stats) -> None:
        self.recipe = recipe
        self.stats = stats
        self._idle: list[Sandbox] = []
        self._habit = Habit()
        self._on_demand: Parts | None = None
        self.on_give_way: Callable[[], Callable[[], None] | None] | None = None  # a weak reference
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
        if self.recipe.stateful:
            return False
        try:
            self._idle.pop(0)
        except IndexError:
            return False
        forget = self.on_give_way() if self.on_give_way is not None else None
        if forget is not None:
            forget()
        return True

    @contextmanager
    def sandbox(self, deadline: Deadline, size: int = 0) -> Iterator[Sandbox]:
        """A sandbox for one guest call under `deadline`: kept after success if the recipe says so, else left to its
        arrays. After an error it is closed."""
        box = self.acquire(deadline, size)
        try:
            yield box
        except BaseException:
            self.discard(box)
            raise
        self.release(box)

    def acquire(self, deadline: Deadline, size: int = 0) -> Sandbox:
        """An instance ready to be called with `size` bytes of tensors, its deadline running."""
        try:
            box = self._idle.pop()
        except IndexError:
            return self._make(deadline)
        if box.snapshot is not None and not self._rewound(box, size):
            box.close()
            return self._make(deadline)
        deadline.arm(box.store)
        return box

    def waits(self, box: Sandbox) -> bool:
        """Whether `box` is here for another call."""
        return box in self._idle

    def retake(self, box: Sandbox, memory: np.ndarray, size: int) -> bool:
        """Take `box` for another call with `size` bytes of tensors, if it waits here with its `memory` as it was. Its
        deadline is the caller's."""
        try:
            other = self._idle.pop()
        except IndexError:
            return False
        if other is not box or box.latest is not memory:
            self._idle.append(other)
            return False
        if box.snapshot is not None and not box.snapshot.restore(box, self._habit, size):
            box.close()
            return False
        return True

    def put_back(self, box: Sandbox, memory: np.ndarray) -> None:
        """A call of a sandbox that `retake` gave went well, and `box.view` was asked for afterwards."""
        if box.latest is not memory or box.host is not None:
            self._observe(box)
        self._idle.append(box)

    def _rewound(self, box: Sandbox, size: int) -> bool:
        """Bring a used instance back to its start. False where a new one must be made."""
        assert box.snapshot is not None
        return box.holds(size) and box.snapshot.restore(box, self._habit, size)

    def release(self, box: Sandbox, *, taken: bool = False) -> None:
        """The call went well. `taken`: somebody keeps views of its memory."""
        self._observe(box)
        if box.extra and not self.recipe.stateful:
            return  # else the memory of a busy hour would stay
        if self.recipe.keep or (box.snapshot is not None and not taken and self._habit.pays):
            self._idle.append(box)

    def discard(self, box: Sandbox) -> None:
        """The call failed: nothing of this instance is used again."""
        self._observe(box)
        box.close()

    def live_views(self) -> int:
        """How many stores are alive in this process, those that only arrays hold on to included."""
        return native.live_stores()

    def close(self) -> None:
        """Let go of the kept instances; those that arrays still look into are freed with them."""
        self._idle.clear()

    def bare(self, deadline: Deadline) -> Sandbox:
        """A store under `deadline` that has no instance yet."""
        box = Sandbox(self._store(self.recipe.parts.engine, deadline), self.recipe.limits.max_memory_bytes)
        box.deadline = deadline
        return box

    def _store(self, engine: wasmtime.Engine, deadline: Deadline) -> native.Store:
        limits = self.recipe.limits
        store = native.Store(
            engine,
            memory_bytes=limits.max_memory_bytes,
            max_stack_bytes=limits.max_stack_bytes,
            name_of=self.recipe.name_of,
            advise=self.recipe.advise,
        )
        deadline.arm(store)
        return store

    def _make(self, deadline: Deadline) -> Sandbox:
        box = self.bare(deadline)
        if self.recipe.host_needed:
            self.give_host(box, [], b"", self.recipe.limits.max_output_bytes)
        try:
            self.start(box)
        except BaseException:
            self.discard(box)
            raise
        return box

    def give_host(self, box: Sandbox, argv: list[str], stdin: bytes, cap: int) -> None:
        """Attach WASI to a sandbox that is about to start."""
        box.host = box.store.host_state = HostState(stdin, cap)
        box.argv = argv
        self._set_wasi(box)

    @staticmethod
    def _set_wasi(box: Sandbox) -> None:
        config = wasmtime.WasiConfig()
        config.argv = box.argv
        box.store.set_wasi(config)

    def start(self, box: Sandbox) -> None:
        """Instantiate the guest, then the loop module beside it. Raises HostBusy where this process has no room."""
        recipe = self.recipe
        self.stats.instances += 1
        try:
            self._instantiate(box)
        except MemoryLimit as error:
            raise MemoryLimit(
                f"the module needs more memory than its limit of {recipe.limits.max_memory_bytes} bytes"
                f" ({recipe.terms.raising('max_memory_bytes')}): {error}"
            ) from None
        if recipe.initializer is not None:
            self._initialize(box, recipe.initializer)
        if recipe.allocator is not None:
            box.block = Block(recipe.allocator, recipe.own_maximum, recipe.terms)
        box.globals_exposed = recipe.globals_exposed
        if recipe.globals_exposed is not None and recipe.allocator is None:
            box.snapshot = Snapshot.of(box, recipe.globals_exposed)

    def _instantiate(self, box: Sandbox) -> None:
        """Instantiate in the pool, for which idle instances give way, else on demand (see `instances`)."""
        recipe = self.recipe
        if recipe.on_demand is None:
            instances.start_on_demand(lambda: self._try(box, recipe.parts), self._ends(box))
            return
        if instances.start_in_pool(lambda: self._try(box, recipe.parts)):
            return
        if self._on_demand is None:
            self._on_demand = recipe.on_demand()
        box.extra, parts = True, self._on_demand
        instances.start_on_demand(lambda: self._try(box, parts), self._ends(box))

    @staticmethod
    def _ends(box: Sandbox) -> float:
        assert box.deadline is not None
        return box.deadline.at

    def _try(self, box: Sandbox, parts: Parts) -> None:
        """Instantiate once. After a failure the sandbox has a new store at the next try."""
        if box.store.used or box.store.engine is not parts.engine:
            self._renew(box, parts.engine)
        store, recipe = box.store, self.recipe
        store.used = True
        box.instance = store.instantiate(parts.pre)
        if parts.loop_module is not None:
            imports = [extern for name in recipe.loop_imports if (extern := box.export(name)) is not None]
            box.loop = Sandbox(store, recipe.limits.max_memory_bytes)
            box.loop.instance = store.instantiate_with(parts.loop_module, imports)

    def _renew(self, box: Sandbox, engine: wasmtime.Engine) -> None:
        assert box.deadline is not None
        box.store.close()
        box.forget()
        box.store = self._store(engine, box.deadline)
        if box.host is not None:
            box.store.host_state = box.host
            self._set_wasi(box)

    def _initialize(self, box: Sandbox, name: bytes) -> None:
        """Run the module's `_initialize` or `_start`. A program's runtime may leave `_start` by ``proc_exit(0)``."""
        try:
            box.call_u32(name)
        except GuestExit as leaving:
            if name != b"_start":
                raise
            if leaving.code:
                raise GuestError(
                    f"the module's '_start', which initialises each instance, ended with {leaving}, not with 0"
                ) from None

    def _observe(self, box: Sandbox) -> None:
        if not self.recipe.has_memory and box.host is None:
            return
        memory = box.export(b"memory") if box.instance is not None else None
        if memory is not None and memory.is_memory:
            size = box.view().size
            if size > self.stats.memory_high_water_bytes:
                self.stats.memory_high_water_bytes = size
        if box.host is not None:
            self._forward(box.host)

    def _forward(self, host: HostState) -> None:
        report = self.recipe.on_output
        for stream, output in (("stdout", host.stdout), ("stderr", host.stderr)):
            if report is not None and (output.data or output.dropped):
                for line in output.lines(self.recipe.terms.setting("max_output_bytes")):
                    report(stream, messages.escape(line))
            output.data.clear()
            output.dropped = 0
