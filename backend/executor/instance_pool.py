"""A pool of instances of one plan.

Each instance has all modules of the plan in a separate store. After a call it is reused, rewound to its initial state
first, or closed.
"""

from __future__ import annotations

import time

import numpy as np
import wasmtime

from ..constants import MAX_IDLE_SIZES, SPARE_BYTES
from ..errors import GuestError
from ..plan.control import CONTROL_AT, DONE, FIXED_AT, HEADER
from ..plan.planner import Plan
from .executor import Deadline, OnOutput
from .host_state import HostState
from .instance_limit import register_owner, start_instance
from .store import LinkedModules, Store

ADAPTER_MEMORY_BYTES = 2 << 20
"""Maximum size of the adapter's memory, which the guest's limit does not restrict."""


class PlanInstance:
    """One instance: its store, the adapter's functions and control block, and the memory that holds the tensors."""

    def __init__(self, store: Store, bridge: wasmtime.Instance, adapter: wasmtime.Instance) -> None:
        self.store = store
        self.dirty = False  # whether the guest was called since the last rewind
        self.input_bytes = 0  # of the call that it was created for
        self.adapter_memory = store.view(store.export(bridge, "memory"))  # never grows
        block = self.adapter_memory[CONTROL_AT:FIXED_AT]
        self.header = block[8 : HEADER.size].view(np.uint32)  # passes, generation, message address and size, grew
        self.table = block[HEADER.size :]
        self._memory: wasmtime.Memory = store.export(bridge, "tensors")
        self._functions = {name: store.export(adapter, name) for name in ("place", "run", "restore", "explain")}

    def call(self, function: str, *arguments: int) -> int:
        """Call a function of the adapter; returns its status."""
        status: int = self.store.run(self._functions[function], self.store, *arguments)
        return status

    def place(self, table: bytes) -> int:
        """Let the adapter place tensors for a call with the inputs in `table`; returns its status."""
        self.table[: len(table)] = np.frombuffer(table, np.uint8)
        return self.call("place")

    def tensors(self) -> np.ndarray:
        """The memory that holds the tensors, as uint8."""
        return self.store.view(self._memory)

    def message(self) -> str:
        """The adapter's last message."""
        at, size = int(self.header[2]), int(self.header[3])
        return self.adapter_memory[at : at + size].tobytes().decode("utf-8", "backslashreplace")


class InstancePool:
    """Creates instances of a plan, and keeps those that can be reused."""

    def __init__(self, plan: Plan, linked: LinkedModules, on_output: OnOutput | None) -> None:
        self.plan = plan
        self._linked = linked
        self._on_output = on_output
        self._idle: list[PlanInstance] = []
        self._restored = self._grown = 0
        self.called_at = 0.0
        register_owner(self)

    def evict_idle(self) -> bool:
        """Close the instance that has been idle longest. False if none is idle, or if the plan is stateful."""
        if self.plan.stateful:
            return False
        try:
            self._idle.pop(0).store.close()
        except IndexError:
            return False
        return True

    def acquire(self, deadline: Deadline, size: int) -> PlanInstance:
        """An instance for inputs of `size` bytes, rewound unless the plan keeps state. `deadline` is armed."""
        self.called_at = time.monotonic()
        instance = self._pop_idle(size)
        if instance is None:
            return self.create(deadline, size)
        instance.store.arm(deadline)
        if self.plan.keep or not instance.dirty:
            return instance
        status = instance.call("restore")
        self._restored += 1
        self._grown += bool(instance.header[4])
        if status == DONE:
            return instance
        instance.store.close()
        return self.create(deadline, size)

    def _pop_idle(self, size: int) -> PlanInstance | None:
        """The most recently used idle instance of a fitting size.

        If none fits: None while fewer than MAX_IDLE_SIZES instances are idle (a new one joins them), afterwards the
        oldest one; the adapter then requires a new instance if the oldest does not fit.
        """
        while True:
            recent = self._idle[: -MAX_IDLE_SIZES - 1 : -1]
            fitting = [instance for instance in recent if self._fits(instance, size)]
            if not fitting and len(recent) < MAX_IDLE_SIZES:
                return None
            try:
                instance = fitting[0] if fitting else self._idle[0]
                self._idle.remove(instance)
            except (IndexError, ValueError):
                continue  # removed by another thread
            return instance

    def _fits(self, instance: PlanInstance, size: int) -> bool:
        """Whether the tensor block of an instance is about as large as a call with inputs of `size` bytes needs.

        The adapter decides; this check avoids calling it in an instance that does not fit.
        """
        return self.plan.keep or not self.plan.rewinds or 0 <= instance.input_bytes - size <= max(size, SPARE_BYTES)

    def release(self, instance: PlanInstance, *, failed: bool = False) -> None:
        """Return an instance to the pool after a call.

        It is closed instead if the call `failed`, or if rewinding it costs more than a new instance.
        """
        if self.plan.has_memory:
            self._linked.stats.observe_memory(instance.tensors().size)
        self._forward(instance.store.state)
        # Some allocators ignore memory that exists already and grow it again after each rewind.
        worthwhile = self._grown <= 8 or 4 * self._grown < self._restored
        if not failed and (self.plan.keep or not instance.dirty or (self.plan.rewinds and worthwhile)):
            self._idle.append(instance)
        else:
            instance.store.close()

    def close(self) -> None:
        """Close the idle instances."""
        while self._idle:
            self._idle.pop().store.close()

    # -- creating an instance --------------------------------------------------------------------------------------

    def create(self, deadline: Deadline, size: int) -> PlanInstance:
        """A new instance for inputs of `size` bytes. Raises as `start_instance`."""
        state = HostState(self.plan.limits.max_output_bytes)
        try:
            instance = start_instance(self._linked, self._instantiate, state, deadline)
        except BaseException:
            self._forward(state)
            raise
        instance.input_bytes = size
        return instance

    def _instantiate(self, store: Store) -> PlanInstance:
        plan, max_bytes = self.plan, self.plan.limits.max_memory_bytes
        if plan.needs_host:
            store.set_wasi_arguments()
        instances = [store.run(self._linked.guest.instantiate, store)]
        for number, module in enumerate(self._linked.others, 1):
            if number == plan.bridge:
                store.limit_memory(max(max_bytes, ADAPTER_MEMORY_BYTES))
            imports = [store.export(instances[link.module], link.name) for link in plan.modules[number].links]
            instances.append(store.run(wasmtime.Instance, store, module, imports))
        store.limit_memory(max_bytes)
        if plan.initializer is not None:
            self._initialize(store, instances[0], plan.initializer)
        return PlanInstance(store, instances[-2], instances[-1])

    @staticmethod
    def _initialize(store: Store, guest: wasmtime.Instance, name: str) -> None:
        """Run the module's `_initialize` or `_start`.

        The runtime of a command can leave `_start` by ``proc_exit(0)``.
        """
        try:
            store.run(store.export(guest, name), store)
        except GuestError:
            code = store.state.exit_code
            if name != "_start" or code is None:
                raise
            if code:
                raise GuestError(
                    f"the module's '_start', which initializes each instance: expected exit code 0, got {code}"
                ) from None

    def _forward(self, state: HostState) -> None:
        """Forward the captured output to the callback, and clear it."""
        for stream, output in (("stdout", state.stdout), ("stderr", state.stderr)):
            if self._on_output is not None and (output.data or output.dropped):
                for line in output.lines(self.plan.setting_names.limit_name("max_output_bytes")):
                    self._on_output(stream, line)
            output.data.clear()
            output.dropped = 0
