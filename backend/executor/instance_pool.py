"""Instances of a plan: each has all its parts in a store of its own, and is kept, put back to its start, or dropped."""

from __future__ import annotations

import time

import numpy as np
import wasmtime

from ..constants import SIZES_KEPT, SPARE_BYTES
from ..errors import GuestError
from ..plan.control import CONTROL_AT, DONE, FIXED_AT, HEADER
from ..plan.planner import Plan
from .executor import Deadline, OnOutput
from .host_state import HostState
from .instance_limit import register_owner, start_instance
from .store import LinkedModules, Store

ADAPTER_MEMORY_BYTES = 2 << 20  # of the adapter's memory, whatever the guest's limit is


class PlanInstance:
    """One instance: its store, the adapter's functions and control block, and the memory that holds the tensors."""

    def __init__(self, store: Store, bridge: wasmtime.Instance, adapter: wasmtime.Instance) -> None:
        self.store = store
        self.dirty = False  # was called
        self.made_for = 0  # bytes of inputs
        self.own = store.view(store.export(bridge, "memory"))  # never grows
        block = self.own[CONTROL_AT:FIXED_AT]
        self.head = block[8 : HEADER.size].view(np.uint32)  # passes, generation, message, its bytes, grew
        self.table = block[HEADER.size :]
        self._memory: wasmtime.Memory = store.export(bridge, "tensors")
        self._functions = {name: store.export(adapter, name) for name in ("place", "run", "restore", "explain")}

    def call(self, function: str, *arguments: int) -> int:
        """Call one of the adapter's functions; its status."""
        status: int = self.store.run(self._functions[function], self.store, *arguments)
        return status

    def place(self, table: bytes) -> int:
        """Have the adapter place tensors for a call with the inputs in `table`; its status."""
        self.table[: len(table)] = np.frombuffer(table, np.uint8)
        return self.call("place")

    def tensors(self) -> np.ndarray:
        """The memory that holds the tensors, as uint8."""
        return self.store.view(self._memory)

    def message(self) -> str:
        """What the adapter told last."""
        at, size = int(self.head[2]), int(self.head[3])
        return self.own[at : at + size].tobytes().decode("utf-8", "backslashreplace")


class InstancePool:
    """Makes boxes of a plan, and keeps those that may serve again."""

    def __init__(self, plan: Plan, linked: LinkedModules, on_output: OnOutput | None) -> None:
        self.plan = plan
        self._linked = linked
        self._on_output = on_output
        self._idle: list[PlanInstance] = []
        self._restored = self._grown = 0
        self.called_at = 0.0
        register_owner(self)

    def evict_idle(self) -> bool:
        """Drop the instance that has been idle longest, if any; one that is stateful stays."""
        if self.plan.stateful:
            return False
        try:
            self._idle.pop(0).store.close()
        except IndexError:
            return False
        return True

    def acquire(self, deadline: Deadline, size: int) -> PlanInstance:
        """An instance for inputs of `size` bytes, in its first state, or as it is kept; its deadline is running."""
        self.called_at = time.monotonic()
        box = self._take(size)
        if box is None:
            return self.make(deadline, size)
        box.store.arm(deadline)
        if self.plan.keep or not box.dirty:
            return box
        status = box.call("restore")
        self._restored += 1
        self._grown += bool(box.head[4])
        if status == DONE:
            return box
        box.store.close()
        return self.make(deadline, size)

    def _take(self, size: int) -> PlanInstance | None:
        """The last idle instance that suits. Where none does, a new one joins the few of other sizes (None), or takes
        the place of the oldest."""
        while True:
            last = self._idle[: -SIZES_KEPT - 1 : -1]
            suiting = [box for box in last if self._suits(box, size)]
            if not suiting and len(last) < SIZES_KEPT:
                return None
            try:
                box = suiting[0] if suiting else self._idle[0]
                self._idle.remove(box)
            except (IndexError, ValueError):
                continue  # another thread took it
            return box

    def _suits(self, box: PlanInstance, size: int) -> bool:
        """Whether the block of an instance is about as large as this call needs. The adapter decides; this saves asking
        the wrong one."""
        return self.plan.keep or not self.plan.rewinds or 0 <= box.made_for - size <= max(size, SPARE_BYTES)

    def release(self, box: PlanInstance, *, failed: bool = False) -> None:
        """The call is over. Nothing of an instance in which one has `failed` is used again."""
        if self.plan.has_memory:
            self._linked.stats.observe_memory(box.tensors().size)
        self._forward(box.store.state)
        # Some allocators take no notice of memory that is there already: to put those back does not pay.
        pays = self._grown <= 8 or 4 * self._grown < self._restored
        if not failed and (self.plan.keep or not box.dirty or (self.plan.rewinds and pays)):
            self._idle.append(box)
        else:
            box.store.close()

    def close(self) -> None:
        """Let go of the kept instances."""
        while self._idle:
            self._idle.pop().store.close()

    # -- making one ------------------------------------------------------------------------------------------------

    def make(self, deadline: Deadline, size: int) -> PlanInstance:
        """A new instance, for inputs of `size` bytes, as `instances.start`."""
        state = HostState(self.plan.limits.max_output_bytes)
        try:
            box = start_instance(self._linked, self._instantiate, state, deadline)
        except BaseException:
            self._forward(state)
            raise
        box.made_for = size
        return box

    def _instantiate(self, store: Store) -> PlanInstance:
        plan, most = self.plan, self.plan.limits.max_memory_bytes
        if plan.needs_host:
            store.give_wasi()
        made = [store.run(self._linked.guest.instantiate, store)]
        for number, module in enumerate(self._linked.others, 1):
            if number == plan.bridge:
                store.limit_memory(max(most, ADAPTER_MEMORY_BYTES))
            imports = [store.export(made[link.module], link.name) for link in plan.modules[number].links]
            made.append(store.run(wasmtime.Instance, store, module, imports))
        store.limit_memory(most)
        if plan.initializer is not None:
            self._initialize(store, made[0], plan.initializer)
        return PlanInstance(store, made[-2], made[-1])

    @staticmethod
    def _initialize(store: Store, guest: wasmtime.Instance, name: str) -> None:
        """Run the module's `_initialize` or `_start`. A program's runtime may leave `_start` by ``proc_exit(0)``."""
        try:
            store.run(store.export(guest, name), store)
        except GuestError:
            code = store.state.exit_code
            if name != "_start" or code is None:
                raise
            if code:
                raise GuestError(
                    f"the module's '_start', which initialises each instance, ended with exit code {code}, not with 0"
                ) from None

    def _forward(self, state: HostState) -> None:
        """Hand on what the guest wrote."""
        for stream, output in (("stdout", state.stdout), ("stderr", state.stderr)):
            if self._on_output is not None and (output.data or output.dropped):
                for line in output.lines(self.plan.setting_names.limit_name("max_output_bytes")):
                    self._on_output(stream, line)
            output.data.clear()
            output.dropped = 0
