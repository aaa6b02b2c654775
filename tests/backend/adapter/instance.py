"""The adapter called directly through wasmtime, as an executor calls it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import wasmtime

from portalis.backend.constants import MAX_OUT_RANK
from portalis.backend.plan import control
from portalis.backend.plan.planner import Plan


class Header(NamedTuple):
    """The header of the control block, before the tensors."""

    rows: int
    passes: int
    generation: int
    message: int
    message_bytes: int
    grew: int
    pad: int


class Instance:
    """All parts of a plan in one store."""

    def __init__(self, plan: Plan) -> None:
        engine = wasmtime.Engine()
        self.store = wasmtime.Store(engine)
        made: list[Any] = []
        for each in plan.modules:
            imports = [made[link.module][link.name] for link in each.links]
            made.append(wasmtime.Instance(self.store, wasmtime.Module(engine, each.wasm), imports).exports(self.store))
        self.guest, self._adapter = made[0], made[-1]
        self.own: wasmtime.Memory = made[plan.bridge]["memory"]
        self.tensors: wasmtime.Memory = made[plan.bridge]["tensors"]
        self._inputs = len(plan.interface.inputs)

    def call(self, function: str, *arguments: int) -> int:
        """Call one of the adapter's functions; returns its status."""
        status: int = self._adapter[function](self.store, *arguments)
        return status

    @property
    def header(self) -> Header:
        data = bytes(self.own.read(self.store, control.CONTROL_AT, control.CONTROL_AT + control.HEADER.size))
        return Header(*control.HEADER.unpack(data))

    def message(self) -> str:
        """The adapter's message for its last status."""
        header = self.header
        return bytes(self.own.read(self.store, header.message, header.message + header.message_bytes)).decode()

    def row(self, i: int) -> tuple[int, int, int, int, tuple[int, ...]]:
        """Rank, address, bytes, bytes of a pass and dims of a tensor."""
        at = control.CONTROL_AT + control.HEADER.size + control.TENSOR.size * i
        rank, place, size, each, *dims = control.TENSOR.unpack(
            bytes(self.own.read(self.store, at, at + control.TENSOR.size))
        )
        return rank, place, size, each, tuple(dims[:rank])

    def place(self, *arrays: np.ndarray | None) -> int:
        """Place these inputs."""
        for i, array in enumerate(arrays):
            dims = [0] * MAX_OUT_RANK
            if array is not None:
                dims[: array.ndim] = array.shape
            rank, size = (-1, 0) if array is None else (array.ndim, array.nbytes)
            at = control.CONTROL_AT + control.HEADER.size + control.TENSOR.size * i
            self.own.write(self.store, control.TENSOR.pack(rank, 0, size, 0, *dims), at)
        return self.call("place")

    def write(self, *arrays: np.ndarray | None) -> None:
        """Copy the complete inputs to their placements."""
        for i, array in enumerate(arrays):
            if array is not None:
                self.tensors.write(self.store, array.tobytes(), self.row(i)[1])

    def run(self, number: int = 0, generation: int | None = None) -> int:
        """Run a pass of the last placement, or of a different `generation`."""
        return self.call("run", number, self.header.generation if generation is None else generation)

    def output(self, i: int = 0, dtype: Any = np.float32) -> np.ndarray:
        """An output in memory after a single pass."""
        _, at, size, _, dims = self.row(self._inputs + i)
        return np.frombuffer(bytes(self.tensors.read(self.store, at, at + size)), dtype).reshape(dims)

    def answer(self, *arrays: np.ndarray | None) -> np.ndarray:
        """Place, write and run; returns the first output."""
        assert self.place(*arrays) == control.DONE, self.message()
        self.write(*arrays)
        assert self.run() == control.DONE, self.message()
        return self.output()

    def state(self) -> bytes:
        """The guest's entire memory."""
        memory: wasmtime.Memory = self.guest["memory"]
        return bytes(memory.read(self.store, 0, memory.data_len(self.store)))
