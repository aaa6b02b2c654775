"""Runs a plan through the native executor core (ctypes): one call into C per guest call.

A call whose inputs have the shapes of the previous call takes the fast path: its arguments are already in place.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char
from typing import Any, NoReturn

import numpy as np

from ..batch.bytes_tensor import deserialize, object_array
from ..batch.coalesce import Pieces
from ..constants import MAX_OUT_RANK
from ..errors import GuestError, GuestTimeout, HostBusy, InternalError, Trap
from ..interface.dtypes import BYTES
from ..plan.planner import Plan
from .core_call import (
    SMALL_BYTES,
    CallArguments,
    LentMemory,
    OutputShapes,
    Shapes,
    StagedTensors,
    array_address,
    joined_shape,
    serialized,
)
from .core_library import Core, CoreCall, CorePiece, OutputCallback
from .executor import Deadline, Executor, OnOutput, Stats
from .guest_faults import ADAPTER_ERRORS, check_read_deadline
from .host_state import GuestLines

_Arrays = list["np.ndarray | list[np.ndarray] | None"]  # per input; a list if the input is in pieces
OPEN, TRAP, TIMEOUT, BUSY, GUEST = -1, 16, 17, 18, 19
"""Results of the core's functions, beyond those of the adapter (``native/core.h``)."""
MAX_KNOWN_SHAPES = 64
"""Maximum number of input shapes whose output shapes are remembered."""
_ERRORS = {**ADAPTER_ERRORS, TRAP: Trap, TIMEOUT: GuestTimeout, BUSY: HostBusy, GUEST: GuestError}


def _free(core: Core, pool: int, program: int) -> None:
    core.pool_free(pool)
    core.unload(program)


class CoreExecutor(Executor):
    """The executor of one plan, created from its packed form (`plan.layout`).

    The library's program and instance pool are freed together with this object. A call on another thread keeps it
    alive.
    """

    copies_inputs_once = True

    def __init__(self, core: Core, plan: Plan, block: bytearray, stats: Stats, on_output: OnOutput | None) -> None:
        self._core, self._plan, self._stats = core, plan, stats
        self._inputs, outputs = plan.interface.inputs, plan.interface.outputs
        self._dtypes = [spec.dtype.numpy for spec in outputs]
        self._has_bytes = any(spec.dtype is BYTES for spec in (*self._inputs, *outputs))
        self._lines = None if on_output is None else GuestLines.create(plan, on_output)
        # an attribute, because the library does not keep the callback alive
        self._callback = OutputCallback() if self._lines is None else OutputCallback(self._lines.add)
        self._known: dict[Shapes, OutputShapes] = {}  # input shapes to the output shapes of their last call
        message = ctypes.create_string_buffer(4096)
        view = (c_char * len(block)).from_buffer(block)
        self._program = core.load(byref(view), len(block), self._callback, None, message, len(message))
        del view
        if not self._program:
            raise InternalError(message.value.decode("utf-8", "replace"))
        self._pool = core.pool_new(self._program)
        if not self._pool:
            core.unload(self._program)
            raise HostBusy("out of memory")
        self._arguments = CallArguments(self._pool, len(self._inputs), len(outputs))
        freed = weakref.finalize(self, _free, core, self._pool, self._program)
        freed.atexit = False  # at exit other threads can still run guests

    def update_stats(self) -> None:
        """Copy the library's counters of instances and memory."""
        counted = self._core.stats(self._program)
        self._stats.instances, self._stats.memory_high_water_bytes = counted.instances, counted.high_water

    def close(self) -> None:
        """Free the idle instances."""
        self._core.pool_clear(self._pool)

    def run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        """Implements `Executor.run`, and then forwards the lines that the guest wrote."""
        try:
            return self._run(inputs, deadline, borrow)
        finally:
            if self._lines is not None:
                self._lines.forward()

    def _run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool) -> list[np.ndarray]:
        arguments = self._arguments
        if deadline.timeout_s != arguments.timeout_s:
            arguments.timeout_s, arguments.call.timeout_ns = deadline.timeout_s, int(deadline.timeout_s * 1e9)
        staged, shapes = arguments.staged, arguments.input_shapes
        if staged is None or shapes is None or borrow or not staged.copy_in(inputs):
            return self._general(arguments, inputs, deadline, borrow)
        kind = self._core.run(arguments.address, int(deadline.at * 1e9))
        if not kind:
            return [output.copy() for output in staged.outputs]
        return self._finish(arguments, shapes, deadline, kind)

    def _general(
        self, arguments: CallArguments, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool
    ) -> list[np.ndarray]:
        """The general path: describe the inputs again unless their shapes are those of the last call."""
        arguments.staged = None
        shapes, arrays = self._flatten(inputs)
        again = arguments.input_shapes == shapes and not self._has_bytes
        if not again:
            self._set_inputs(arguments, shapes, arrays)
        pointers, at, piece_tables = arguments.pointers, 0, []
        for number, array in enumerate(arrays):
            if isinstance(array, list):
                pieces = [CorePiece(array_address(piece), piece.nbytes) for piece in array]
                piece_tables.append((CorePiece * len(array))(*pieces))
                tensor = arguments.inputs[number][0]
                tensor.piece, tensor.pieces = ctypes.cast(piece_tables[-1], POINTER(CorePiece)), len(array)
                arguments.input_shapes = None
            elif array is not None:
                pointers[at] = array_address(array)
            at += 2
        if borrow and not self._has_bytes:
            return self._lend(arguments, shapes, deadline)
        expected = self._known.get(shapes)
        if expected is None or arguments.output_shapes is not expected:
            self._set_outputs(arguments, expected)
        outputs: list[np.ndarray] = []
        for shape, dtype in zip(expected or (), self._dtypes):
            output = np.empty(shape, dtype)
            outputs.append(output)
            pointers[at] = array_address(output)
            at += 2
        kind = self._core.run(arguments.address, int(deadline.at * 1e9))
        if kind:
            return self._finish(arguments, shapes, deadline, kind)
        if again:
            self._stage(arguments, arrays, outputs)
        return outputs

    def _stage(self, arguments: CallArguments, arrays: _Arrays, outputs: Sequence[np.ndarray]) -> None:
        """Let the next call use staged arrays of this thread, if all of its tensors are small."""
        small = [a for a in arrays if isinstance(a, np.ndarray) and 0 < a.nbytes <= SMALL_BYTES]
        if len(small) < len(arrays) or any(not 0 < o.nbytes <= SMALL_BYTES for o in outputs):
            return
        arguments.staged = staged = StagedTensors(small, outputs)
        for at, array in enumerate((*staged.inputs, *staged.outputs)):
            arguments.pointers[2 * at] = array_address(array)

    def _flatten(self, inputs: Sequence[Pieces | None]) -> tuple[Shapes, _Arrays]:
        """The shape of each input, and contiguous arrays of its bytes."""
        shapes: list[tuple[int, ...] | None] = []
        arrays: _Arrays = []
        for pieces, spec in zip(inputs, self._inputs):
            if pieces is None:
                shapes.append(None)
                arrays.append(None)
            elif spec.dtype is BYTES:
                shapes.append(joined_shape(pieces))
                arrays.append(serialized(pieces, spec))
            elif len(pieces) > 1 and pieces[0].nbytes > SMALL_BYTES:
                shapes.append(joined_shape(pieces))
                arrays.append([np.ascontiguousarray(piece) for piece in pieces])
            else:
                array = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
                shapes.append(array.shape)
                arrays.append(array if array.flags.c_contiguous else np.ascontiguousarray(array))
        return tuple(shapes), arrays

    def _lend(self, arguments: CallArguments, shapes: Shapes, deadline: Deadline) -> list[np.ndarray]:
        """Run a call whose outputs are views of guest memory.

        Later calls can overwrite them; the memory stays mapped.
        """
        arguments.output_shapes = None
        kind = self._core.lend(arguments.address, int(deadline.at * 1e9))
        if kind:
            return self._finish(arguments, shapes, deadline, kind)
        lent, outputs = LentMemory(arguments.call.instance, self._core.release), []
        for (tensor, _), dtype in zip(arguments.outputs, self._dtypes):
            data: Any = (c_char * tensor.bytes).from_address(tensor.data)
            data.lent = lent
            outputs.append(np.frombuffer(data, dtype).reshape(tensor.dims[: tensor.rank]))
        return outputs

    @staticmethod
    def _set_inputs(arguments: CallArguments, shapes: Shapes, arrays: _Arrays) -> None:
        """Describe the inputs in `arguments`: everything that is equal in all calls with these shapes."""
        for (tensor, piece, pointer), shape, array in zip(arguments.inputs, shapes, arrays):
            if tensor.pieces > 1:  # otherwise it already points to its single piece
                tensor.piece = pointer
            if shape is None or array is None:
                tensor.rank, tensor.bytes, tensor.pieces = -1, 0, 0
                continue
            dims = shape[:MAX_OUT_RANK]
            size = sum(each.nbytes for each in array) if isinstance(array, list) else array.nbytes
            tensor.rank, tensor.bytes, tensor.pieces = len(shape), size, 1
            tensor.dims[: len(dims)] = dims
            piece.bytes = size
        arguments.input_shapes = shapes

    def _set_outputs(self, arguments: CallArguments, expected: OutputShapes | None) -> None:
        """Describe the outputs in `arguments`, if their shapes are known."""
        for i, ((tensor, piece), dtype) in enumerate(zip(arguments.outputs, self._dtypes)):
            tensor.pieces = 0
            if expected is not None:
                shape = expected[i]
                tensor.pieces, piece.bytes = 1, math.prod(shape) * dtype.itemsize
                tensor.rank, tensor.dims[: len(shape)] = len(shape), shape
        arguments.output_shapes = expected

    def _finish(self, arguments: CallArguments, shapes: Shapes, deadline: Deadline, kind: int) -> list[np.ndarray]:
        """Complete a call that did not copy its outputs: raise its error, or allocate outputs of the shapes it
        reports."""
        arguments.output_shapes = arguments.staged = None
        if kind != OPEN:
            self._fail(arguments.call, kind)
        shapes_out = [tuple(tensor.dims[: tensor.rank]) for tensor, _ in arguments.outputs]
        try:
            raw = [
                np.empty(tensor.bytes, np.uint8) if dtype.hasobject else np.empty(shape, dtype)
                for (tensor, _), shape, dtype in zip(arguments.outputs, shapes_out, self._dtypes)
            ]
        except BaseException:
            self._core.abort(arguments.address)  # otherwise the instance would leak
            raise
        for (tensor, piece), output in zip(arguments.outputs, raw):
            piece.data, piece.bytes, tensor.pieces = array_address(output), tensor.bytes, 1
        kind = self._core.end(arguments.address)
        if kind:
            self._fail(arguments.call, kind)
        if not self._has_bytes:
            if len(self._known) >= MAX_KNOWN_SHAPES:
                self._known.clear()
            self._known[shapes] = shapes_out
        return [
            self._elements(output, shape, deadline) if dtype.hasobject else output
            for output, shape, dtype in zip(raw, shapes_out, self._dtypes)
        ]

    def _elements(self, output: np.ndarray, shape: tuple[int, ...], deadline: Deadline) -> np.ndarray:
        """A BYTES tensor as an object array. Raises GuestTimeout if reading it exceeds the deadline."""
        limits, setting_names = self._plan.limits, self._plan.setting_names
        elements = deserialize(output.data, check=lambda: check_read_deadline(deadline, limits, setting_names))
        return object_array(elements, shape)

    def _fail(self, call: CoreCall, kind: int) -> NoReturn:
        text = call.message[: call.message_bytes].decode("utf-8", "backslashreplace")
        raise _ERRORS.get(kind, InternalError)(text)
