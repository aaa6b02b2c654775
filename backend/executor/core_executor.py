"""Runs a plan through the native executor core, by ctypes: one call into C for each guest call."""

from __future__ import annotations

import collections
import ctypes
import functools
import math
import threading
import time
import weakref
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_bool, c_char, c_char_p, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, NoReturn

import numpy as np
from wasmtime import _ffi as ffi

from .. import messages
from ..batch.bytes_tensor import deserialize, object_array, serialize
from ..batch.coalesce import Pieces
from ..errors import (
    AbiViolation,
    GuestError,
    GuestStatus,
    GuestTimeout,
    HostBusy,
    InputError,
    InternalError,
    MemoryLimit,
    Trap,
    WasmError,
)
from ..interface.dtypes import BYTES
from ..plan import control
from ..plan.planner import Plan
from . import faults
from .box import OnOutput, Stats
from .host_state import Output
from .store import Deadline
from .host_state import Output
from .store import Deadline

_Shapes = tuple[tuple[int, ...] | None, ...]
_address_of, _byte_in = ctypes.addressof, c_char.from_buffer
OPEN, TRAP, TIMEOUT, BUSY, GUEST = -1, 16, 17, 18, 19
MESSAGE_BYTES = 16 << 10
TABLES_KEPT = 64
_ERRORS: dict[int, type[WasmError]] = {
    control.INPUT: InputError,
    control.ABI: AbiViolation,
    control.STATUS: GuestStatus,
    control.MEMORY: MemoryLimit,
    control.OUTPUT: GuestError,
    TRAP: Trap,
    TIMEOUT: GuestTimeout,
    BUSY: HostBusy,
    GUEST: GuestError,
}


class _Piece(Structure):
    _fields_ = (("data", c_void_p), ("bytes", c_uint64))


class _Tensor(Structure):
    _fields_ = (
        ("rank", c_int32),
        ("pieces", c_uint32),
        ("bytes", c_uint64),
        ("piece", POINTER(_Piece)),
        ("dims", c_int64 * control.MAX_OUT_RANK),
        ("slice", c_uint64),
        ("data", c_void_p),
    )


class _Call(Structure):
    _fields_ = (
        ("slot", c_void_p),
        ("timeout_ns", c_uint64),
        ("inputs", POINTER(_Tensor)),
        ("outputs", POINTER(_Tensor)),
        ("rows", c_int64),
        ("kind", c_int32),
        ("message_bytes", c_uint32),
        ("passes", c_uint32),
        ("generation", c_uint32),
        ("box", c_void_p),
        ("started_ns", c_uint64),
        ("ended_ns", c_uint64),
        ("deadline_ns", c_uint64),
        ("changed", c_bool),
        ("message", c_char * MESSAGE_BYTES),
    )


class _Stats(Structure):
    _fields_ = tuple((name, c_uint64) for name in ("calls", "traps", "timeouts", "instances", "guest_ns", "high_water"))


class Settings(Structure):
    """How the library keeps house, for the whole process: `struct core_settings`."""

    _fields_ = (("wait_ns", c_uint64), ("period_ns", c_uint64), ("rest_ns", c_uint64), ("most_instances", c_uint32))


_Output = ctypes.CFUNCTYPE(None, c_void_p, ctypes.c_int, POINTER(c_char), c_size_t)


def layouts() -> int:
    """The sizes of wasmtime's structs, as `core_layouts` packs them."""
    sizes = (
        ctypes.sizeof(ffi.wasmtime_extern_t),
        ffi.wasmtime_extern_t.of.offset,
        ctypes.sizeof(ffi.wasmtime_func_t),
        ctypes.sizeof(ffi.wasmtime_memory_t),
        ctypes.sizeof(ffi.wasmtime_instance_t),
        ctypes.sizeof(ffi.wasmtime_val_raw_t),
        ctypes.sizeof(ffi.wasm_byte_vec_t),
    )
    return sum(size << 8 * i for i, size in enumerate(sizes))


class Core:
    """The library. Raises OSError or ValueError where it cannot be used."""

    def __init__(self, path: str, wasmtime: str = str(ffi.dll._name)) -> None:
        library = ctypes.CDLL(path)

        def function(name: str, result: Any, *arguments: Any) -> Any:
            found: Any = getattr(library, name, None)
            if found is None:
                raise ValueError(f"it has no {name}")
            found.restype, found.argtypes = result, list(arguments)
            return found

        self.load = function("core_load", c_void_p, c_void_p, c_size_t, _Output, c_void_p, c_char_p, c_size_t)
        self.unload = function("core_unload", None, c_void_p)
        self.slot_new = function("core_slot_new", c_void_p, c_void_p)
        self.slot_clear = function("core_slot_clear", None, c_void_p)
        self.slot_free = function("core_slot_free", None, c_void_p)
        self.run = function("core_run", c_int32, c_void_p, c_uint64)
        self.lend = function("core_lend", c_int32, c_void_p, c_uint64)
        self.end = function("core_end", c_int32, c_void_p)
        self.release = function("core_release", None, c_void_p)
        self.stats = function("core_stats", _Stats, c_void_p)
        self.set = function("core_set", None, POINTER(Settings))
        if function("core_layouts", c_uint64)() != layouts():
            raise ValueError("it was built for another version of wasmtime")
        why = function("core_open", c_char_p, c_char_p)(wasmtime.encode())
        if why:
            raise ValueError(why.decode("utf-8", "replace"))


class _Known:
    """Calls with inputs of these shapes, and the shapes of the outputs as they were last. It is never changed: what a
    thread has written for it stays true."""

    __slots__ = ("outputs", "shapes")

    def __init__(self, shapes: _Shapes, outputs: list[tuple[int, ...]] | None = None) -> None:
        self.shapes, self.outputs = shapes, outputs


class _Space(threading.local):
    """What one thread needs for a call, made once: the call, its tensors, and a piece for each."""

    def __init__(self, slot: int, inputs: int, outputs: int) -> None:
        count = inputs + outputs
        self.call, self.tensors, self.pieces = _Call(), (_Tensor * count)(), (_Piece * count)()
        self.call.slot = slot
        self.call.inputs = ctypes.cast(self.tensors, POINTER(_Tensor))
        self.call.outputs = ctypes.cast(byref(self.tensors, inputs * ctypes.sizeof(_Tensor)), POINTER(_Tensor))
        for tensor, piece in zip(self.tensors, self.pieces):
            tensor.piece = ctypes.pointer(piece)
        self.address = ctypes.addressof(self.call)
        self.timeout_s = 0.0
        self.places: Any = memoryview(self.pieces).cast("B").cast("q")  # pointer and size of each piece in turn
        self.written: _Known | None = None  # of the inputs
        self.expected: _Known | None = None  # of the outputs


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
        self._limit, self._setting = plan.limits.max_output_bytes, plan.terms.setting("max_output_bytes")
        self._on_output = on_output
        self._waiting: collections.deque[tuple[str, str]] = collections.deque()

    def take(self, _data: Any, stream: int, text: Any, size: int) -> None:
        """The library's callback: the output of one call, or, without a text, how much is missing of it."""
        name = ("stdout", "stderr")[stream]
        if not text:
            self._waiting.append((name, f"... {size} more bytes were dropped ({self._setting} is {self._limit})"))
            return
        captured = Output(self._limit)
        captured.write(ctypes.string_at(text, size))
        self._waiting.extend((name, messages.escape(line)) for line in captured.lines(""))

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


class CoreExecutor:
    """The executor of one plan, from its block of bytes. What it has in the library is freed with it: a call that runs
    on another thread keeps it."""

    def __init__(self, core: Core, plan: Plan, block: bytearray, stats: Stats, on_output: OnOutput | None) -> None:
        self._core, self._plan, self._stats = core, plan, stats
        interface = plan.interface
        self._inputs, self._outputs = interface.inputs, interface.outputs
        self._dtypes = [spec.dtype.numpy for spec in self._outputs]
        self._has_bytes = any(spec.dtype is BYTES for spec in (*self._inputs, *self._outputs))
        self._lines = None if on_output is None else _Lines(plan, on_output)
        self._take = _Output() if self._lines is None else _Output(self._lines.take)  # the library has no reference to it
        self._known: dict[object, _Known] = {}
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
        self._space = _Space(self._slot, len(self._inputs), len(self._outputs))
        weakref.finalize(self, _free, core, self._slot, self._program).atexit = False  # other threads may still run then

    def observe(self) -> None:
        """Take the library's counters over."""
        counted = self._core.stats(self._program)
        self._stats.instances, self._stats.memory_high_water_bytes = counted.instances, counted.high_water

    def close(self) -> None:
        """Let go of the instances that are kept."""
        self._core.slot_clear(self._slot)

    def run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        """As `PythonExecutor.run`."""
        if self._lines is None:
            return self._run(inputs, deadline, borrow)
        try:
            return self._run(inputs, deadline, borrow)
        finally:
            self._lines.hand_on()

    def _run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool) -> list[np.ndarray]:
        shapes: list[tuple[int, ...] | None] = []
        arrays: list[np.ndarray | None] = []
        for pieces, spec in zip(inputs, self._inputs):
            if pieces is None:
                shapes.append(None)
                arrays.append(None)
                continue
            shapes.append(pieces[0].shape if len(pieces) == 1 else _shape(pieces))
            if spec.dtype is BYTES:
                elements = (element for piece in pieces for element in piece.reshape(-1).tolist())
                arrays.append(np.frombuffer(serialize(elements, f"input '{spec.name}'"), np.uint8))
            else:
                array = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
                arrays.append(array if array.flags.c_contiguous else np.ascontiguousarray(array))
        key = tuple(shapes)
        known = self._known.get(key)
        if known is None:
            known = self._learn(_Known(key))
        space = self._space
        if space.written is not known or self._has_bytes:
            self._write(space, known, arrays)
        places, at = space.places, 0
        for array in arrays:
            if array is not None:
                places[at] = _address(array)
            at += 2
        if deadline.timeout_s != space.timeout_s:
            space.timeout_s, space.call.timeout_ns = deadline.timeout_s, int(deadline.timeout_s * 1e9)
        if borrow and not self._has_bytes:
            return self._lend(space, known, deadline)
        outputs: list[np.ndarray] = []
        if space.expected is not known:
            self._expect(space, known)
        if known.outputs is not None:
            for shape, dtype in zip(known.outputs, self._dtypes):
                output = np.empty(shape, dtype)
                outputs.append(output)
                places[at] = _address(output)
                at += 2
        kind = self._core.run(space.address, int(deadline.at * 1e9))
        if not kind:
            return outputs
        return self._finish(space, known, deadline, kind)

    def _lend(self, space: _Space, known: _Known, deadline: Deadline) -> list[np.ndarray]:
        """A call whose outputs stay where the guest wrote them. Other calls may write over them, but the arrays keep their
        memory."""
        space.expected = None
        kind = self._core.lend(space.address, int(deadline.at * 1e9))
        if kind:
            return self._finish(space, known, deadline, kind)
        lent, first, outputs = _Lent(space.call.box, self._core.release), len(self._inputs), []
        for i, dtype in enumerate(self._dtypes):
            tensor = space.tensors[first + i]
            data: Any = (c_char * tensor.bytes).from_address(tensor.data) if tensor.bytes else bytearray()
            if tensor.bytes:
                data.lent = lent
            outputs.append(np.frombuffer(data, dtype).reshape(tensor.dims[: tensor.rank]))
        return outputs

    def _learn(self, known: _Known) -> _Known:
        if len(self._known) >= TABLES_KEPT:
            self._known.clear()
        self._known[known.shapes] = known
        return known

    def _write(self, space: _Space, known: _Known, arrays: Sequence[np.ndarray | None]) -> None:
        """Write what is the same for all calls with these shapes."""
        for i, (shape, array) in enumerate(zip(known.shapes, arrays)):
            tensor = space.tensors[i]
            if shape is None or array is None:
                tensor.rank, tensor.bytes, tensor.pieces = -1, 0, 0
                continue
            dims = shape[: control.MAX_OUT_RANK]
            tensor.rank, tensor.bytes, tensor.pieces = len(shape), array.nbytes, 1
            tensor.dims[: len(dims)] = dims
            space.pieces[i].bytes = array.nbytes
        space.written = known

    def _expect(self, space: _Space, known: _Known) -> None:
        """Write how large the outputs will be, where that is known."""
        first = len(self._inputs)
        for i, dtype in enumerate(self._dtypes):
            tensor, piece = space.tensors[first + i], space.pieces[first + i]
            tensor.pieces = 0
            if known.outputs is not None:
                shape = known.outputs[i]
                tensor.pieces, piece.bytes = 1, math.prod(shape) * dtype.itemsize
                tensor.rank, tensor.dims[: len(shape)] = len(shape), shape
        space.expected = known

    def _finish(self, space: _Space, known: _Known, deadline: Deadline, kind: int) -> list[np.ndarray]:
        """The outputs of a call that failed, or whose outputs have other shapes than before or were not known at all."""
        space.expected = None
        if kind != OPEN:
            self._fail(space.call, kind)
        first = len(self._inputs)
        tensors = [space.tensors[first + i] for i in range(len(self._outputs))]
        shapes = [tuple(tensor.dims[: tensor.rank]) for tensor in tensors]
        raw = [
            np.empty(tensor.bytes, np.uint8) if spec.dtype is BYTES else np.empty(shape, dtype)
            for tensor, shape, spec, dtype in zip(tensors, shapes, self._outputs, self._dtypes)
        ]
        for i, (tensor, output) in enumerate(zip(tensors, raw)):
            space.pieces[first + i].data = _address(output)
            space.pieces[first + i].bytes = tensor.bytes
            tensor.pieces = 1
        kind = self._core.end(space.address)
        if kind:
            self._fail(space.call, kind)
        if not self._has_bytes:
            self._learn(_Known(known.shapes, shapes))
        return [
            object_array(deserialize(output.data, check=lambda: self._check(deadline)), shape) if spec.dtype is BYTES else output
            for output, shape, spec in zip(raw, shapes, self._outputs)
        ]

    def _check(self, deadline: Deadline) -> None:
        if time.monotonic() >= deadline.at:
            advise = functools.partial(self._plan.terms.more_time, limit_s=self._plan.limits.timeout_s)
            raise faults.timed_out(deadline.timeout_s, advise, what="reading the outputs took")

    def _fail(self, call: _Call, kind: int) -> NoReturn:
        text = call.message[: call.message_bytes].decode("utf-8", "backslashreplace")
        raise _ERRORS.get(kind, InternalError)(text)


def _address(array: np.ndarray) -> int:
    """Where a contiguous array's first element lies; this takes a quarter of the time of ``array.ctypes.data``."""
    try:
        return _address_of(_byte_in(array))
    except (TypeError, ValueError):  # read-only, or empty
        address: int = array.__array_interface__["data"][0]
        return address


def _shape(pieces: Pieces) -> tuple[int, ...]:
    first = pieces[0].shape
    return first if len(pieces) == 1 else (sum(len(piece) for piece in pieces), *first[1:])
