"""Runs a plan in Python: the reference for every other executor, and what runs where there is no native one.

It knows no call convention: it copies bytes to where the adapter's ``place`` says, calls ``run``, and takes the outputs
from where that says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from ..batch.bytes_tensor import deserialize, object_array, serialize
from ..errors import AbiViolation, GuestError, GuestStatus, InputError, InternalError, MemoryLimit, Trap, WasmError
from ..interface.dtypes import BYTES
from ..interface.interface import TensorSpec
from ..plan import control
from . import native
from .box import Box, Boxes, Deadline
from .faults import GuestExit

Pieces = Sequence[np.ndarray]  # one input, cut along axis 0: an array from each request
COPY_BELOW = 1 << 20  # smaller outputs are copied, so that a caller who keeps one does not keep a whole instance
MAX_LIVE_VIEWS = native.POOL_MEMORIES // 2
TABLES_KEPT = 64
_ERRORS: dict[int, type[WasmError]] = {
    control.INPUT: InputError,
    control.ABI: AbiViolation,
    control.STATUS: GuestStatus,
    control.MEMORY: MemoryLimit,
    control.OUTPUT: GuestError,
}
_ROW = control.TENSOR
_unpack_row: Any = _ROW.unpack_from  # type checkers take an array for a buffer only from NumPy 2 on


class PythonExecutor:
    """The executor of one plan."""

    def __init__(self, boxes: Boxes) -> None:
        interface = boxes.plan.interface
        self._boxes = boxes
        self._inputs, self._outputs = interface.inputs, interface.outputs
        self._has_bytes = any(spec.dtype is BYTES for spec in interface.inputs)
        self._tables: dict[object, np.ndarray] = {}

    def run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        """The outputs for `inputs` (interface order; None for an absent optional one; pieces are joined along axis 0).
        With `borrow` they may be views that are valid until the next call. Raises InputError or GuestError."""
        flat = [self._flat(spec, pieces) for spec, pieces in zip(self._inputs, inputs)]
        table = self._table(inputs, flat)
        box = self._boxes.acquire(deadline)
        try:
            status = self._place(box, table)
            if status == control.RENEW:  # it has no room for these tensors
                box.close()
                box = self._boxes.make(deadline)
                status = self._place(box, table)
            if status:
                self._fail(box, status)
            outputs = self._run(box, flat)
        except InputError:
            self._boxes.release(box)  # the guest was not called
            raise
        except Trap as trap:
            said = self._explanation(box)
            self._boxes.discard(box)
            raise Trap(f"{trap}\nthe guest said: {said}" if said else str(trap)) from None
        except BaseException:
            self._boxes.discard(box)
            raise
        taken = False
        if not borrow:
            small = self._boxes.plan.keep or native.live_stores() > MAX_LIVE_VIEWS
            taken = not small and any(o.base is not None and o.nbytes >= COPY_BELOW for o in outputs)
            outputs = [o if o.base is None or (taken and o.nbytes >= COPY_BELOW) else o.copy() for o in outputs]
        self._boxes.release(box, taken=taken)
        return outputs

    def observe(self) -> None:
        """The counters are up to date."""

    def close(self) -> None:
        """Let go of the instances that are kept."""
        self._boxes.close()

    # -- inputs ----------------------------------------------------------------------------------------------------

    @staticmethod
    def _flat(spec: TensorSpec, pieces: Pieces | None) -> list[np.ndarray] | None:
        """The bytes of each piece."""
        if pieces is None:
            return None
        if spec.dtype is BYTES:
            elements = (element for piece in pieces for element in piece.reshape(-1).tolist())
            return [np.frombuffer(serialize(elements, f"input '{spec.name}'"), np.uint8)]
        return [np.ascontiguousarray(piece).reshape(-1).view(np.uint8) for piece in pieces]

    def _table(self, inputs: Sequence[Pieces | None], flat: Sequence[list[np.ndarray] | None]) -> np.ndarray:
        """The rows of the control block for inputs of these shapes."""
        key: object = tuple(None if p is None else p[0].shape if len(p) == 1 else _shape(p) for p in inputs)
        if self._has_bytes:
            key = (key, *(None if f is None else f[0].size for f in flat))
        found = self._tables.get(key)
        if found is None:
            rows = [_row(None if p is None else _shape(p), f) for p, f in zip(inputs, flat)]
            if len(self._tables) >= TABLES_KEPT:
                self._tables.clear()
            found = self._tables[key] = np.frombuffer(b"".join(rows), np.uint8)
        return found

    @staticmethod
    def _place(box: Box, table: np.ndarray) -> int:
        """Have the adapter place the tensors; its status."""
        box.table[: table.size] = table
        return box.call(box.place)

    # -- the call --------------------------------------------------------------------------------------------------

    def _run(self, box: Box, flat: Sequence[list[np.ndarray] | None]) -> list[np.ndarray]:
        passes, generation = int(box.head[0]), int(box.head[1])
        rows = [_unpack_row(box.table, _ROW.size * i) for i in range(len(flat))]
        if passes > 1:
            flat = [None if f is None else f if len(f) == 1 else [np.concatenate(f)] for f in flat]
        outputs: list[np.ndarray] = []
        if not passes:
            return [np.empty(row[4 : 4 + row[0]], spec.dtype.numpy) for row, spec in self._found(box)]
        for number in range(passes):
            box.dirty = True
            memory = box.tensors()
            for pieces, row in zip(flat, rows):
                if pieces is not None and (not number or row[3]):
                    _copy_in(memory, pieces, row, number)
            status = box.call(box.run, number, generation, 2)
            if status:
                self._fail(box, status)
            if passes == 1:
                return [self._array(box, row, spec) for row, spec in self._found(box)]
            if not outputs:
                outputs = [np.empty(row[4 : 4 + row[0]], spec.dtype.numpy) for row, spec in self._found(box)]
            self._copy_out(box, outputs, number)
        return outputs

    def _found(self, box: Box) -> list[tuple[tuple[int, ...], TensorSpec]]:
        """The outputs' rows of the control block."""
        first = len(self._inputs)
        return [(_unpack_row(box.table, _ROW.size * (first + i)), spec) for i, spec in enumerate(self._outputs)]

    def _array(self, box: Box, row: tuple[int, ...], spec: TensorSpec) -> np.ndarray:
        rank, at, size, _, *dims = row
        data, shape = box.tensors()[at : at + size], tuple(dims[:rank])
        if spec.dtype is not BYTES:
            return data.view(spec.dtype.numpy).reshape(shape)
        elements = deserialize(data.data, check=lambda: box.store.check_deadline("reading the outputs took"))
        return object_array(elements, shape)

    def _copy_out(self, box: Box, outputs: Sequence[np.ndarray], number: int) -> None:
        memory = box.tensors()
        for (row, _), output in zip(self._found(box), outputs):
            at, each = row[1], row[3]
            piece = output.reshape(-1).view(np.uint8)[each * number : each * (number + 1)]
            piece[:] = memory[at : at + piece.size]

    # -- errors ----------------------------------------------------------------------------------------------------

    def _fail(self, box: Box, status: int) -> NoReturn:
        text = box.message()
        if status == control.STATUS and (said := self._explanation(box)):
            text = f"{text}: {said}"
        raise _ERRORS.get(status, InternalError)(text)

    @staticmethod
    def _explanation(box: Box) -> str:
        """What the guest says of its failure. Where it fails at that too, the first failure counts: it is never hidden
        by the second."""
        try:
            box.call(box.explain)
        except (GuestError, GuestExit) as problem:
            return f"(portalis_error failed: {str(problem).partition(chr(10))[0]})"
        return box.message()


def _shape(pieces: Pieces) -> tuple[int, ...]:
    first = pieces[0].shape
    return first if len(pieces) == 1 else (sum(len(piece) for piece in pieces), *first[1:])


def _row(shape: tuple[int, ...] | None, flat: list[np.ndarray] | None) -> bytes:
    if shape is None or flat is None:
        return _ROW.pack(-1, 0, 0, 0, *[0] * control.MAX_OUT_RANK)
    dims = shape[: control.MAX_OUT_RANK]
    return _ROW.pack(
        len(shape), 0, sum(piece.size for piece in flat), 0, *dims, *[0] * (control.MAX_OUT_RANK - len(dims))
    )


def _copy_in(memory: np.ndarray, pieces: Sequence[np.ndarray], row: tuple[int, ...], number: int) -> None:
    at, each = row[1], row[3]
    if each:
        piece = pieces[0][each * number : each * (number + 1)]
        memory[at : at + piece.size] = piece
        return
    for piece in pieces:
        memory[at : at + piece.size] = piece
        at += piece.size
