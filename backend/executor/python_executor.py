"""Runs a plan in Python: the reference for the native executor, and its replacement where none is available.

It is independent of the call convention. It copies inputs to the addresses that the adapter's ``place`` chooses, calls
``run``, and copies the outputs from the addresses that ``run`` reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from ..batch.bytes_tensor import deserialize, object_array, serialize
from ..batch.coalesce import Pieces, join_pieces
from ..constants import MAX_OUT_RANK
from ..errors import GuestError, InputError, InternalError, Trap
from ..interface.dtypes import BYTES
from ..interface.interface import TensorSpec
from ..plan.control import RENEW, STATUS, TENSOR
from .executor import Deadline, Executor
from .guest_faults import ADAPTER_ERRORS, check_read_deadline
from .instance_pool import InstancePool, PlanInstance

_ROW = TENSOR
_unpack_row: Any = _ROW.unpack_from  # for type checkers an array is a buffer only since NumPy 2


class PythonExecutor(Executor):
    """The executor of one plan."""

    def __init__(self, pool: InstancePool) -> None:
        self._pool = pool
        interface = pool.plan.interface
        self._inputs, self._outputs = interface.inputs, interface.outputs

    def run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        """Implements `Executor.run`; the outputs are always copies."""
        arrays = join_pieces(inputs)
        flat = [self._flat(spec, array) for spec, array in zip(self._inputs, arrays)]
        table = b"".join(_row(array, data) for array, data in zip(arrays, flat))
        size = sum(data.size for data in flat if data is not None)
        instance = self._pool.acquire(deadline, size)
        try:
            status = instance.place(table)
            if status == RENEW:  # its tensor block is too small
                instance.store.close()
                instance = self._pool.create(deadline, size)
                status = instance.place(table)
            if status:
                self._fail(instance, status)
            outputs = self._run(instance, flat, deadline)
        except InputError:
            self._pool.release(instance)  # the guest was not called
            raise
        except Trap as trap:
            explanation = self._explanation(instance)
            self._pool.release(instance, failed=True)
            raise Trap(f"{trap}\nthe guest's message: {explanation}" if explanation else str(trap)) from None
        except BaseException:
            self._pool.release(instance, failed=True)
            raise
        self._pool.release(instance)
        return outputs

    def close(self) -> None:
        """Close the idle instances."""
        self._pool.close()

    @staticmethod
    def _flat(spec: TensorSpec, array: np.ndarray | None) -> np.ndarray | None:
        """The bytes of an input, as uint8."""
        if array is None:
            return None
        if spec.dtype is BYTES:
            return np.frombuffer(serialize(array.reshape(-1).tolist(), f"input '{spec.name}'"), np.uint8)
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def _run(self, instance: PlanInstance, flat: Sequence[np.ndarray | None], deadline: Deadline) -> list[np.ndarray]:
        """Run all passes of a placed call; returns its outputs."""
        passes, generation = int(instance.header[0]), int(instance.header[1])
        placed, results = _rows(instance, range(len(flat))), range(len(flat), len(flat) + len(self._outputs))
        outputs: list[np.ndarray] = []
        for number in range(passes):
            instance.dirty = True
            memory = instance.tensors()
            for data, (_, at, _, each, *_) in zip(flat, placed):
                if data is not None and (not number or each):
                    piece = data[each * number : each * (number + 1)] if each else data
                    memory[at : at + piece.size] = piece
            status = instance.call("run", number, generation)
            if status:
                self._fail(instance, status)
            rows = _rows(instance, results)
            if passes == 1:
                return [self._array(instance, row, spec, deadline) for row, spec in zip(rows, self._outputs)]
            outputs = outputs or self._empty(rows)
            memory = instance.tensors()
            for (_, at, _, each, *_), output in zip(rows, outputs):
                piece = output.reshape(-1).view(np.uint8)[each * number : each * (number + 1)]
                piece[:] = memory[at : at + piece.size]
        return outputs or self._empty(_rows(instance, results))

    def _empty(self, rows: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        return [np.empty(row[4 : 4 + row[0]], spec.dtype.numpy) for row, spec in zip(rows, self._outputs)]

    def _array(self, instance: PlanInstance, row: tuple[int, ...], spec: TensorSpec, deadline: Deadline) -> np.ndarray:
        rank, at, size, _, *dims = row
        data, shape = instance.tensors()[at : at + size].copy(), tuple(dims[:rank])
        if spec.dtype is not BYTES:
            return data.view(spec.dtype.numpy).reshape(shape)
        plan = self._pool.plan
        elements = deserialize(data.data, check=lambda: check_read_deadline(deadline, plan.limits, plan.setting_names))
        return object_array(elements, shape)

    # -- errors ----------------------------------------------------------------------------------------------------

    def _fail(self, instance: PlanInstance, status: int) -> NoReturn:
        text = instance.message()
        if status == STATUS and (explanation := self._explanation(instance)):
            text = f"{text}: {explanation}"
        raise ADAPTER_ERRORS.get(status, InternalError)(text)

    @staticmethod
    def _explanation(instance: PlanInstance) -> str:
        """The guest's own message about its failure. If ``portalis_error`` fails too, the first failure is still
        reported, with a note about the second."""
        try:
            instance.call("explain")
        except GuestError as error:
            return f"(portalis_error failed: {str(error).partition(chr(10))[0]})"
        return instance.message()


def _row(array: np.ndarray | None, data: np.ndarray | None) -> bytes:
    """An input as a row of the control block."""
    if array is None or data is None:
        return _ROW.pack(-1, 0, 0, 0, *[0] * MAX_OUT_RANK)
    dims = array.shape[:MAX_OUT_RANK]
    return _ROW.pack(array.ndim, 0, data.size, 0, *dims, *[0] * (MAX_OUT_RANK - len(dims)))


def _rows(instance: PlanInstance, numbers: range) -> list[tuple[int, ...]]:
    """The rows of the control block for the tensors with these numbers; outputs follow the inputs."""
    return [_unpack_row(instance.table, _ROW.size * i) for i in numbers]
