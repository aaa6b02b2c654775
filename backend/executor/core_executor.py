"""Runs a plan through the native executor core, by ctypes: one call into C for each guest call."""

from __future__ import annotations

import collections
import ctypes
import math
import threading
import weakref
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char
from typing import Any, NoReturn

import numpy as np

from ..batch.bytes_tensor import deserialize, object_array, serialize
from ..batch.coalesce import Pieces
from ..constants import MAX_OUT_RANK
from ..errors import GuestError, GuestTimeout, HostBusy, InternalError, Trap
from ..interface.dtypes import BYTES
from ..interface.interface import TensorSpec
from ..plan.planner import Plan
from .core_library import Core, CoreCall, CorePiece, CoreTensor, OutputCallback
from .executor import Deadline, Executor, OnOutput, Stats
from .guest_faults import ADAPTER_ERRORS, check_read_deadline
from .host_state import Output

_Shapes = tuple[tuple[int, ...] | None, ...]
_OutShapes = Sequence[tuple[int, ...]]
_Arrays = list["np.ndarray | list[np.ndarray] | None"]  # of each input, a list where it is in pieces
_address_of: Any = ctypes.addressof
_byte_in: Any = c_char.from_buffer
OPEN, TRAP, TIMEOUT, BUSY, GUEST = -1, 16, 17, 18, 19
TABLES_KEPT = 64
SMALL_BYTES = 16 << 10  # of a tensor: copying it takes less time than finding out where it lies
_ERRORS = {**ADAPTER_ERRORS, TRAP: Trap, TIMEOUT: GuestTimeout, BUSY: HostBusy, GUEST: GuestError}


class _Space(threading.local):
    """What one thread needs for a call, made once: the call, and a tensor with a piece for each input and output."""

    def __init__(self, slot: int, inputs: int, outputs: int) -> None:
        count = inputs + outputs
        self.call, tensors, pieces = CoreCall(), (CoreTensor * count)(), (CorePiece * count)()
        self.call.slot = slot
        self.call.inputs = ctypes.cast(tensors, POINTER(CoreTensor))
        self.call.outputs = ctypes.cast(byref(tensors, inputs * ctypes.sizeof(CoreTensor)), POINTER(CoreTensor))
        self.address = ctypes.addressof(self.call)
        self.timeout_s = 0.0
        self.places: Any = memoryview(pieces).cast("B").cast("q")  # pointer and size of each piece in turn
        rows = list(zip(tensors, pieces, map(ctypes.pointer, pieces)))
        for tensor, _, pointer in rows:
            tensor.piece = pointer
        self.inputs, self.outputs = rows[:inputs], [(tensor, piece) for tensor, piece, _ in rows[inputs:]]
        self.written: _Shapes | None = None  # of the inputs
        self.expected: _OutShapes | None = None  # of the outputs
        self.staged: _Staged | None = None  # the call that was last, if its tensors are small: all pieces lie there


class _Staged:
    """Arrays for small tensors, through which further calls with inputs of the same shapes go."""

    __slots__ = ("_views", "inputs", "outputs")

    def __init__(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        self.inputs, self.outputs = [np.empty_like(array) for array in inputs], [np.empty_like(o) for o in outputs]
        # assigning to a memoryview of one dimension takes a quarter of the time of NumPy's
        flat: Any = [array.reshape(-1) for array in self.inputs]  # NumPy 1 has no Buffer for type checkers
        self._views: list[tuple[tuple[int, ...], Any]] = [(a.shape, memoryview(f)) for a, f in zip(self.inputs, flat)]

    def take(self, inputs: Sequence[Pieces | None]) -> bool:
        """Copy the inputs in, if they have the same shapes."""
        try:
            for pieces, (shape, view) in zip(inputs, self._views):
                if pieces is None or _shape(pieces) != shape:
                    return False
                if len(pieces) == 1:
                    view[:] = pieces[0] if len(shape) == 1 else pieces[0].reshape(-1)
                    continue
                at = 0
                for piece in pieces:
                    view[at : at + piece.size] = piece.reshape(-1)
                    at += piece.size
        except ValueError:  # the same data type under another of C's names
            return False
        return True


class _Lent:
    """Keeps the memory of an instance that arrays look into."""

    __slots__ = ("_box", "_release")

    def __init__(self, box: int, release: Any) -> None:
        self._box, self._release = box, release

    def __del__(self) -> None:
        self._release(self._box)


class _Lines:
    """What guests wrote, until the call is over: whoever gets the lines may call the program again, or raise."""

    def __init__(self, plan: Plan, on_output: OnOutput) -> None:
        self._limit, self._setting = plan.limits.max_output_bytes, plan.setting_names.limit_name("max_output_bytes")
        self._on_output = on_output
        self._waiting: collections.deque[tuple[str, str]] = collections.deque()

    def take(self, _data: Any, stream: int, text: Any, size: int) -> None:
        """The library's callback: the output of one call, or, without a text, how much is missing of it."""
        captured = Output(self._limit)
        if text:
            captured.data += ctypes.string_at(text, size)
        else:
            captured.dropped = size
        self._waiting.extend((("stdout", "stderr")[stream], line) for line in captured.lines(self._setting))

    def hand_on(self) -> None:
        """Hand on what there is."""
        while True:
            try:
                line = self._waiting.popleft()
            except IndexError:
                return
            self._on_output(*line)


def _free(core: Core, slot: int, program: int) -> None:
    core.slot_free(slot)
    core.unload(program)


class CoreExecutor(Executor):
    """The executor of one plan, from its block of bytes. What it has in the library is freed with it: a call that runs
    on another thread keeps it."""

    def __init__(self, core: Core, plan: Plan, block: bytearray, stats: Stats, on_output: OnOutput | None) -> None:
        self._core, self._plan, self._stats = core, plan, stats
        self._inputs, outputs = plan.interface.inputs, plan.interface.outputs
        self._dtypes = [spec.dtype.numpy for spec in outputs]
        self._has_bytes = any(spec.dtype is BYTES for spec in (*self._inputs, *outputs))
        self._lines = None if on_output is None else _Lines(plan, on_output)
        # referred to here: the library does not keep it alive
        self._take = OutputCallback() if self._lines is None else OutputCallback(self._lines.take)
        self._known: dict[_Shapes, _OutShapes] = {}  # of the outputs, as they were last for inputs of these shapes
        why = ctypes.create_string_buffer(4096)
        view = (c_char * len(block)).from_buffer(block)
        self._program = core.load(byref(view), len(block), self._take, None, why, len(why))
        del view
        if not self._program:
            raise InternalError(why.value.decode("utf-8", "replace"))
        self._slot = core.slot_new(self._program)
        if not self._slot:
            core.unload(self._program)
            raise HostBusy("out of memory")
        self._space = _Space(self._slot, len(self._inputs), len(outputs))
        freed = weakref.finalize(self, _free, core, self._slot, self._program)
        freed.atexit = False  # other threads may still run guests then

    def update_stats(self) -> None:
        counted = self._core.stats(self._program)
        self._stats.instances, self._stats.memory_high_water_bytes = counted.instances, counted.high_water

    def close(self) -> None:
        self._core.slot_clear(self._slot)

    def run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        try:
            return self._run(inputs, deadline, borrow)
        finally:
            if self._lines is not None:
                self._lines.hand_on()

    def _run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool) -> list[np.ndarray]:
        space = self._space
        if deadline.timeout_s != space.timeout_s:
            space.timeout_s, space.call.timeout_ns = deadline.timeout_s, int(deadline.timeout_s * 1e9)
        staged, shapes = space.staged, space.written
        if staged is None or shapes is None or borrow or not staged.take(inputs):
            return self._general(space, inputs, deadline, borrow)
        kind = self._core.run(space.address, int(deadline.at * 1e9))
        if not kind:
            return [output.copy() for output in staged.outputs]
        return self._finish(space, shapes, deadline, kind)

    def _general(
        self, space: _Space, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool
    ) -> list[np.ndarray]:
        space.staged = None
        shapes, arrays = self._flat(inputs)
        again = space.written == shapes and not self._has_bytes
        if not again:
            self._write(space, shapes, arrays)
        places, at, tables = space.places, 0, []
        for number, array in enumerate(arrays):
            if isinstance(array, list):
                tables.append((CorePiece * len(array))(*[CorePiece(_address(piece), piece.nbytes) for piece in array]))
                tensor = space.inputs[number][0]
                tensor.piece, tensor.pieces = ctypes.cast(tables[-1], POINTER(CorePiece)), len(array)
                space.written = None
            elif array is not None:
                places[at] = _address(array)
            at += 2
        if borrow and not self._has_bytes:
            return self._lend(space, shapes, deadline)
        expected = self._known.get(shapes)
        if expected is None or space.expected is not expected:
            self._expect(space, expected)
        outputs: list[np.ndarray] = []
        for shape, dtype in zip(expected or (), self._dtypes):
            output = np.empty(shape, dtype)
            outputs.append(output)
            places[at] = _address(output)
            at += 2
        kind = self._core.run(space.address, int(deadline.at * 1e9))
        if kind:
            return self._finish(space, shapes, deadline, kind)
        if again:
            self._stage(space, arrays, outputs)
        return outputs

    def _stage(self, space: _Space, arrays: _Arrays, outputs: Sequence[np.ndarray]) -> None:
        """Have the next call go through arrays of this thread's own, if all of its tensors are small."""
        small = [a for a in arrays if isinstance(a, np.ndarray) and 0 < a.nbytes <= SMALL_BYTES]
        if len(small) < len(arrays) or any(not 0 < o.nbytes <= SMALL_BYTES for o in outputs):
            return
        space.staged = staged = _Staged(small, outputs)
        for at, array in enumerate((*staged.inputs, *staged.outputs)):
            space.places[2 * at] = _address(array)

    def _flat(self, inputs: Sequence[Pieces | None]) -> tuple[_Shapes, _Arrays]:
        """The shape of each input, and contiguous arrays of its bytes."""
        shapes: list[tuple[int, ...] | None] = []
        arrays: _Arrays = []
        for pieces, spec in zip(inputs, self._inputs):
            if pieces is None:
                shapes.append(None)
                arrays.append(None)
            elif spec.dtype is BYTES:
                shapes.append(_shape(pieces))
                arrays.append(_serialized(pieces, spec))
            elif len(pieces) > 1 and pieces[0].nbytes > SMALL_BYTES:
                shapes.append(_shape(pieces))
                arrays.append([np.ascontiguousarray(piece) for piece in pieces])
            else:
                array = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
                shapes.append(array.shape)
                arrays.append(array if array.flags.c_contiguous else np.ascontiguousarray(array))
        return tuple(shapes), arrays

    def _lend(self, space: _Space, shapes: _Shapes, deadline: Deadline) -> list[np.ndarray]:
        """A call whose outputs stay where the guest wrote them: others may write over them, but they stay memory."""
        space.expected = None
        kind = self._core.lend(space.address, int(deadline.at * 1e9))
        if kind:
            return self._finish(space, shapes, deadline, kind)
        lent, outputs = _Lent(space.call.box, self._core.release), []
        for (tensor, _), dtype in zip(space.outputs, self._dtypes):
            data: Any = (c_char * tensor.bytes).from_address(tensor.data)
            data.lent = lent
            outputs.append(np.frombuffer(data, dtype).reshape(tensor.dims[: tensor.rank]))
        return outputs

    @staticmethod
    def _write(space: _Space, shapes: _Shapes, arrays: _Arrays) -> None:
        """Write what is the same for all calls with these shapes."""
        for (tensor, piece, pointer), shape, array in zip(space.inputs, shapes, arrays):
            if tensor.pieces > 1:  # else it has its one piece already
                tensor.piece = pointer
            if shape is None or array is None:
                tensor.rank, tensor.bytes, tensor.pieces = -1, 0, 0
                continue
            dims = shape[:MAX_OUT_RANK]
            size = sum(each.nbytes for each in array) if isinstance(array, list) else array.nbytes
            tensor.rank, tensor.bytes, tensor.pieces = len(shape), size, 1
            tensor.dims[: len(dims)] = dims
            piece.bytes = size
        space.written = shapes

    def _expect(self, space: _Space, expected: _OutShapes | None) -> None:
        """Write how large the outputs will be, where that is known."""
        for i, ((tensor, piece), dtype) in enumerate(zip(space.outputs, self._dtypes)):
            tensor.pieces = 0
            if expected is not None:
                shape = expected[i]
                tensor.pieces, piece.bytes = 1, math.prod(shape) * dtype.itemsize
                tensor.rank, tensor.dims[: len(shape)] = len(shape), shape
        space.expected = expected

    def _finish(self, space: _Space, shapes: _Shapes, deadline: Deadline, kind: int) -> list[np.ndarray]:
        """The outputs of a call that failed, or whose outputs' shapes were not known, or are others."""
        space.expected = space.staged = None
        if kind != OPEN:
            self._fail(space.call, kind)
        found = [tuple(tensor.dims[: tensor.rank]) for tensor, _ in space.outputs]
        try:
            raw = [
                np.empty(tensor.bytes, np.uint8) if dtype.hasobject else np.empty(shape, dtype)
                for (tensor, _), shape, dtype in zip(space.outputs, found, self._dtypes)
            ]
        except BaseException:
            self._core.abort(space.address)  # else the instance would be lost
            raise
        for (tensor, piece), output in zip(space.outputs, raw):
            piece.data, piece.bytes, tensor.pieces = _address(output), tensor.bytes, 1
        kind = self._core.end(space.address)
        if kind:
            self._fail(space.call, kind)
        if not self._has_bytes:
            if len(self._known) >= TABLES_KEPT:
                self._known.clear()
            self._known[shapes] = found
        return [
            self._elements(output, shape, deadline) if dtype.hasobject else output
            for output, shape, dtype in zip(raw, found, self._dtypes)
        ]

    def _elements(self, output: np.ndarray, shape: tuple[int, ...], deadline: Deadline) -> np.ndarray:
        """A BYTES tensor. Raises GuestTimeout where reading it takes too long."""
        limits, setting_names = self._plan.limits, self._plan.setting_names
        elements = deserialize(output.data, check=lambda: check_read_deadline(deadline, limits, setting_names))
        return object_array(elements, shape)

    def _fail(self, call: CoreCall, kind: int) -> NoReturn:
        text = call.message[: call.message_bytes].decode("utf-8", "backslashreplace")
        raise _ERRORS.get(kind, InternalError)(text)


def _serialized(pieces: Pieces, spec: TensorSpec) -> np.ndarray:
    elements = (element for piece in pieces for element in piece.reshape(-1).tolist())
    return np.frombuffer(serialize(elements, f"input '{spec.name}'"), np.uint8)


def _address(array: np.ndarray) -> int:
    """Where a contiguous array's first element lies; this takes a quarter of the time of ``array.ctypes.data``."""
    try:
        where: int = _address_of(_byte_in(array))
    except (TypeError, ValueError):  # read-only, or empty
        where = array.__array_interface__["data"][0]
    return where


def _shape(pieces: Pieces) -> tuple[int, ...]:
    first = pieces[0].shape
    return first if len(pieces) == 1 else (sum(len(piece) for piece in pieces), *first[1:])
