"""Runs a plan in Python: the reference for every other executor, and what runs where there is no native one.

It knows no call convention: it copies bytes to where the adapter's ``place`` says, calls ``run``, and takes the outputs
from where that says.
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
_unpack_row: Any = _ROW.unpack_from  # type checkers take an array for a buffer only from NumPy 2 on


class PythonExecutor(Executor):
    """The executor of one plan."""

    def __init__(self, boxes: InstancePool) -> None:
        self._boxes = boxes
        interface = boxes.plan.interface
        self._inputs, self._outputs = interface.inputs, interface.outputs

    def run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        """As `Executor.run`; the outputs are always copies."""
        arrays = join_pieces(inputs)
        flat = [self._flat(spec, array) for spec, array in zip(self._inputs, arrays)]
        table = b"".join(_row(array, data) for array, data in zip(arrays, flat))
        size = sum(data.size for data in flat if data is not None)
        box = self._boxes.acquire(deadline, size)
        try:
            status = box.place(table)
            if status == RENEW:  # it has no room for these tensors
                box.store.close()
                box = self._boxes.make(deadline, size)
                status = box.place(table)
            if status:
                self._fail(box, status)
            outputs = self._run(box, flat, deadline)
        except InputError:
            self._boxes.release(box)  # the guest was not called
            raise
        except Trap as trap:
            said = self._explanation(box)
            self._boxes.release(box, failed=True)
            raise Trap(f"{trap}\nthe guest said: {said}" if said else str(trap)) from None
        except BaseException:
            self._boxes.release(box, failed=True)
            raise
        self._boxes.release(box)
        return outputs

    def close(self) -> None:
        self._boxes.close()

    @staticmethod
    def _flat(spec: TensorSpec, array: np.ndarray | None) -> np.ndarray | None:
        """The bytes of an input, as uint8."""
        if array is None:
            return None
        if spec.dtype is BYTES:
            return np.frombuffer(serialize(array.reshape(-1).tolist(), f"input '{spec.name}'"), np.uint8)
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def _run(self, box: PlanInstance, flat: Sequence[np.ndarray | None], deadline: Deadline) -> list[np.ndarray]:
        """The outputs of a placed call."""
        passes, generation = int(box.head[0]), int(box.head[1])
        placed, results = _rows(box, range(len(flat))), range(len(flat), len(flat) + len(self._outputs))
        outputs: list[np.ndarray] = []
        for number in range(passes):
            box.dirty = True
            memory = box.tensors()
            for data, (_, at, _, each, *_) in zip(flat, placed):
                if data is not None and (not number or each):
                    piece = data[each * number : each * (number + 1)] if each else data
                    memory[at : at + piece.size] = piece
            status = box.call("run", number, generation)
            if status:
                self._fail(box, status)
            made = _rows(box, results)
            if passes == 1:
                return [self._array(box, row, spec, deadline) for row, spec in zip(made, self._outputs)]
            outputs = outputs or self._empty(made)
            memory = box.tensors()
            for (_, at, _, each, *_), output in zip(made, outputs):
                piece = output.reshape(-1).view(np.uint8)[each * number : each * (number + 1)]
                piece[:] = memory[at : at + piece.size]
        return outputs or self._empty(_rows(box, results))

    def _empty(self, rows: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        return [np.empty(row[4 : 4 + row[0]], spec.dtype.numpy) for row, spec in zip(rows, self._outputs)]

    def _array(self, box: PlanInstance, row: tuple[int, ...], spec: TensorSpec, deadline: Deadline) -> np.ndarray:
        rank, at, size, _, *dims = row
        data, shape = box.tensors()[at : at + size].copy(), tuple(dims[:rank])
        if spec.dtype is not BYTES:
            return data.view(spec.dtype.numpy).reshape(shape)
        plan = self._boxes.plan
        elements = deserialize(data.data, check=lambda: check_read_deadline(deadline, plan.limits, plan.setting_names))
        return object_array(elements, shape)

    # -- errors ----------------------------------------------------------------------------------------------------

    def _fail(self, box: PlanInstance, status: int) -> NoReturn:
        text = box.message()
        if status == STATUS and (said := self._explanation(box)):
            text = f"{text}: {said}"
        raise ADAPTER_ERRORS.get(status, InternalError)(text)

    @staticmethod
    def _explanation(box: PlanInstance) -> str:
        """What the guest says of its failure. Where it fails at that too, the first failure counts: it is never hidden
        by the second."""
        try:
            box.call("explain")
        except GuestError as problem:
            return f"(portalis_error failed: {str(problem).partition(chr(10))[0]})"
        return box.message()


def _row(array: np.ndarray | None, data: np.ndarray | None) -> bytes:
    """The row of the control block for an input."""
    if array is None or data is None:
        return _ROW.pack(-1, 0, 0, 0, *[0] * MAX_OUT_RANK)
    dims = array.shape[:MAX_OUT_RANK]
    return _ROW.pack(array.ndim, 0, data.size, 0, *dims, *[0] * (MAX_OUT_RANK - len(dims)))


def _rows(box: PlanInstance, numbers: range) -> list[tuple[int, ...]]:
    """The rows of the control block for the tensors with these numbers, the outputs' behind the inputs'."""
    return [_unpack_row(box.table, _ROW.size * i) for i in numbers]
