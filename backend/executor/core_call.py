"""Buffers of one call into the native core: arguments per thread, staged small tensors, and borrowed guest memory."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char
from typing import Any

import numpy as np

from ..batch.bytes_tensor import serialize
from ..batch.coalesce import Pieces
from ..interface.interface import TensorSpec
from .core_library import CoreCall, CorePiece, CoreTensor

Shapes = tuple[tuple[int, ...] | None, ...]
"""The shape of each input; None for an absent optional one."""
OutputShapes = Sequence[tuple[int, ...]]
SMALL_BYTES = 16 << 10
"""Maximum size of a small tensor: copying it takes less time than looking up its address."""

_address_of: Any = ctypes.addressof
_byte_in: Any = c_char.from_buffer


class CallArguments(threading.local):
    """The arguments of one thread's calls, allocated once: the call, and a tensor with one piece per input and
    output."""

    def __init__(self, pool: int, inputs: int, outputs: int) -> None:
        count = inputs + outputs
        self.call, tensors, pieces = CoreCall(), (CoreTensor * count)(), (CorePiece * count)()
        self.call.pool = pool
        self.call.inputs = ctypes.cast(tensors, POINTER(CoreTensor))
        self.call.outputs = ctypes.cast(byref(tensors, inputs * ctypes.sizeof(CoreTensor)), POINTER(CoreTensor))
        self.address = ctypes.addressof(self.call)
        self.timeout_s = 0.0
        self.pointers: Any = memoryview(pieces).cast("B").cast("q")  # alternating: pointer and size of each piece
        rows = list(zip(tensors, pieces, map(ctypes.pointer, pieces)))
        for tensor, _, pointer in rows:
            tensor.piece = pointer
        self.inputs, self.outputs = rows[:inputs], [(tensor, piece) for tensor, piece, _ in rows[inputs:]]
        self.input_shapes: Shapes | None = None
        """The input shapes that `inputs` describes now."""
        self.output_shapes: OutputShapes | None = None
        """The output shapes that `outputs` expects now."""
        self.staged: StagedTensors | None = None
        """The arrays that all pieces point to, if the tensors of the last call were small."""


class StagedTensors:
    """Preallocated arrays for small tensors. Later calls with the same input shapes copy through them."""

    __slots__ = ("_views", "inputs", "outputs")

    def __init__(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        self.inputs, self.outputs = [np.empty_like(array) for array in inputs], [np.empty_like(o) for o in outputs]
        # assigning to a one-dimensional memoryview takes a quarter of the time of NumPy's assignment
        flat: Any = [array.reshape(-1) for array in self.inputs]  # NumPy 1 has no Buffer for type checkers
        self._views: list[tuple[tuple[int, ...], Any, Any]] = [
            (array.shape, memoryview(items), memoryview(items.view(np.uint8)))
            for array, items in zip(self.inputs, flat)
        ]

    def copy_in(self, inputs: Sequence[Pieces | None]) -> bool:
        """Copy the inputs. False if their shapes or C types differ; some may have been copied by then."""
        try:
            for pieces, (shape, view, octets) in zip(inputs, self._views):
                if pieces is None or joined_shape(pieces) != shape:
                    return False
                at = 0
                for piece in pieces:
                    end = at + piece.size
                    if piece.flags.aligned:
                        view[at:end] = piece.reshape(-1)
                    else:  # as in raw tensors that follow JSON; a memoryview regards it as another C type
                        size = piece.itemsize
                        octets[at * size : end * size] = piece.reshape(-1).view(np.uint8)
                    at = end
        except ValueError:  # the same data type, under a different C type
            return False
        return True


class LentMemory:
    """Owner of an instance whose memory is borrowed by arrays; releases the instance with the last of them."""

    __slots__ = ("_instance", "_release")

    def __init__(self, instance: int, release: Any) -> None:
        self._instance, self._release = instance, release

    def __del__(self) -> None:
        self._release(self._instance)


def serialized(pieces: Pieces, spec: TensorSpec) -> np.ndarray:
    """A BYTES input, serialized, as uint8. Raises InputError."""
    elements = (element for piece in pieces for element in piece.reshape(-1).tolist())
    return np.frombuffer(serialize(elements, f"input '{spec.name}'"), np.uint8)


def array_address(array: np.ndarray) -> int:
    """The address of a contiguous array's first element, in a quarter of the time of ``array.ctypes.data``."""
    try:
        address: int = _address_of(_byte_in(array))
    except (TypeError, ValueError):  # read-only, or empty
        address = array.__array_interface__["data"][0]
    return address


def joined_shape(pieces: Pieces) -> tuple[int, ...]:
    """The shape of the pieces of one input, joined along axis 0."""
    first = pieces[0].shape
    return first if len(pieces) == 1 else (sum(len(piece) for piece in pieces), *first[1:])
