"""Runs a plan through the native executor core, by ctypes: one call into C for each guest call."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
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
from .box import OnOutput, Stats
from .host_state import Output
from .store import Deadline

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
        ("message", c_char * MESSAGE_BYTES),
    )


class _Stats(Structure):
    _fields_ = tuple((name, c_uint64) for name in ("calls", "traps", "timeouts", "instances", "guest_ns", "high_water"))


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

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)

        def function(name: str, result: Any, *arguments: Any) -> Any:
            found = library[name]
            found.restype, found.argtypes = result, list(arguments)
            return found

        self.load = function("core_load", c_void_p, c_void_p, c_size_t, _Output, c_void_p, c_char_p, c_size_t)
        self.unload = function("core_unload", None, c_void_p)
        self.slot_new = function("core_slot_new", c_void_p, c_void_p)
        self.slot_free = function("core_slot_free", None, c_void_p)
        self.run = function("core_run", c_int32, c_void_p)
        self.begin = function("core_begin", c_int32, c_void_p)
        self.end = function("core_end", c_int32, c_void_p)
        self.abort = function("core_abort", None, c_void_p)
        self.stats = function("core_stats", _Stats, c_void_p)
        if function("core_layouts", c_uint64)() != layouts():
            raise ValueError("this wasmtime has other structs than the executor was built for")
        why = function("core_open", c_char_p, c_char_p)(str(ffi.dll._name).encode())
        if why:
            raise ValueError(why.decode())


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
        self.timeout: Any = memoryview(self.call).cast("B")[8:16].cast("q")
        self.places: Any = memoryview(self.pieces).cast("B").cast("q")  # pointer and size of each piece in turn
        self.known: _Known | None = None  # what is written in the tensors
        self.lends = False  # the call has not ended: arrays look into its instance


class _Known:
    """Calls with inputs of these shapes: what is written for them, and the shapes of the outputs as they were last."""

    __slots__ = ("outputs", "shapes")

    def __init__(self, shapes: tuple[tuple[int, ...] | None, ...]) -> None:
        self.shapes = shapes
        self.outputs: list[tuple[int, ...]] | None = None


class CoreExecutor:
    """The executor of one plan, from its block of bytes."""

    def __init__(self, core: Core, plan: Plan, block: bytearray, stats: Stats, on_output: OnOutput | None) -> None:
        self._core, self._plan, self._stats = core, plan, stats
        interface = plan.interface
        self._inputs, self._outputs = interface.inputs, interface.outputs
        self._dtypes = [spec.dtype.numpy for spec in self._outputs]
        self._has_bytes = any(spec.dtype is BYTES for spec in (*self._inputs, *self._outputs))
        self._on_output = on_output
        self._output = _Output(self._take_output)  # the library holds no reference to it
        self._known: dict[object, _Known] = {}
        why = ctypes.create_string_buffer(4096)
        view = (c_char * len(block)).from_buffer(block)
        self._program = core.load(byref(view), len(block), self._output, None, why, len(why))
        del view
        if not self._program:
            raise InternalError(why.value.decode("utf-8", "replace"))
        self._slot = core.slot_new(self._program)
        self._space = _Space(self._slot, len(self._inputs), len(self._outputs))

    def observe(self) -> None:
        """Take the library's counters over."""
        if self._program:
            counted = self._core.stats(self._program)
            self._stats.instances, self._stats.memory_high_water_bytes = counted.instances, counted.high_water

    def close(self) -> None:
        """Let go of the instances that are kept."""
        if self._slot:
            self.observe()
            self._core.slot_free(self._slot)
            self._core.unload(self._program)
            self._slot = self._program = None

    def run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        """As `PythonExecutor.run`."""
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
            if len(self._known) >= TABLES_KEPT:
                self._known.clear()
            known = self._known[key] = _Known(key)
        if borrow and not self._has_bytes:
            return self._lend(known, arrays, deadline)
        return self._call(known, arrays, deadline)

    def _ready(self) -> _Space:
        """This thread's space, for another call."""
        space = self._space
        if space.lends:
            space.lends = False
            self._core.abort(space.address)
        return space

    def _lend(self, known: _Known, arrays: Sequence[np.ndarray | None], deadline: Deadline) -> list[np.ndarray]:
        """A call whose outputs stay where the guest wrote them until this thread's next call."""
        space = self._ready()
        if space.known is not known:
            self._write(space, known, arrays)
        for i, array in enumerate(arrays):
            if array is not None:
                space.places[2 * i] = _address(array)
        space.timeout[0] = int(deadline.timeout_s * 1e9)
        kind = self._core.begin(space.address)
        if kind:
            self._fail(space.call, kind)
        if space.call.passes != 1:
            return self._finish(space, known)
        space.lends = True
        first = len(self._inputs)
        outputs = []
        for i, dtype in enumerate(self._dtypes):
            tensor = space.tensors[first + i]
            shape = tuple(tensor.dims[: tensor.rank])
            data = (c_char * tensor.bytes).from_address(tensor.data) if tensor.bytes else b""
            outputs.append(np.frombuffer(data, dtype).reshape(shape))
        return outputs

    def _call(self, known: _Known, arrays: Sequence[np.ndarray | None], deadline: Deadline) -> list[np.ndarray]:
        space = self._ready()
        if space.known is not known or self._has_bytes:
            self._write(space, known, arrays)
        places, at = space.places, 0
        for array in arrays:
            if array is not None:
                places[at] = _address(array)
            at += 2
        outputs: list[np.ndarray] = []
        if known.outputs is not None and not self._has_bytes:
            for shape, dtype in zip(known.outputs, self._dtypes):
                output = np.empty(shape, dtype)
                outputs.append(output)
                places[at] = _address(output)
                at += 2
        space.timeout[0] = int(deadline.timeout_s * 1e9)
        kind = self._core.run(space.address)
        if not kind:
            return outputs
        if kind != OPEN:
            self._fail(space.call, kind)
        return self._finish(space, known)

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
        self._expect(space, known)
        space.known = known

    def _expect(self, space: _Space, known: _Known) -> None:
        """Write how large the outputs will be, where that is known."""
        first = len(self._inputs)
        for i, dtype in enumerate(self._dtypes):
            tensor, piece = space.tensors[first + i], space.pieces[first + i]
            tensor.pieces = 0
            if known.outputs is not None and not self._has_bytes:
                tensor.pieces, piece.bytes = 1, math.prod(known.outputs[i]) * dtype.itemsize

    def _finish(self, space: _Space, known: _Known) -> list[np.ndarray]:
        """The outputs of a call whose outputs have other shapes than before, or were not known at all."""
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
        known.outputs, space.known = shapes, None
        return [
            object_array(deserialize(output.data), shape) if spec.dtype is BYTES else output
            for output, shape, spec in zip(raw, shapes, self._outputs)
        ]

    def _fail(self, call: _Call, kind: int) -> NoReturn:
        text = call.message[: call.message_bytes].decode("utf-8", "backslashreplace")
        raise _ERRORS.get(kind, InternalError)(text)

    def _take_output(self, _data: Any, stream: int, text: Any, size: int) -> None:
        """What the guest wrote in one call."""
        if self._on_output is None:
            return
        name, limit = ("stdout", "stderr")[stream], self._plan.limits.max_output_bytes
        if not text:
            setting = self._plan.terms.setting("max_output_bytes")
            self._on_output(name, f"... {size} more bytes were dropped ({setting} is {limit})")
            return
        captured = Output(limit)
        captured.write(ctypes.string_at(text, size))
        for line in captured.lines(""):
            self._on_output(name, messages.escape(line))


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
