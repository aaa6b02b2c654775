"""The memory image of one ``dlpack`` call: DLTensor structs, shapes, then 64-byte aligned data, in one block.

``DLTensor`` for wasm32 (DLPack 1.0, 32-bit pointers): data u32, device i32 × 2, ndim i32, dtype u8 u8 u16, shape u32,
strides u32, 4 bytes of padding, byte_offset u64: 40 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ..interface.dtypes import BYTES, DType
from ..interface.interface import Interface

STRUCT = struct.Struct("<IiiiBBHII4xQ")
ALIGN = 64
CPU = 1  # kDLCPU


@dataclass(frozen=True)
class Slot:
    """One tensor of a call: its logical shape (None where absent or known only to the guest) and bytes of data."""

    dtype: DType
    shape: tuple[int, ...] | None
    nbytes: int


@dataclass(frozen=True, eq=False)  # hashed by identity: a layout is a key on the hot path
class Layout:
    """Offsets from the block's start. ``data[i]`` is where slot i's bytes lie; inputs come before outputs."""

    slots: tuple[Slot, ...]
    inputs: int
    shapes: tuple[int, ...]
    data: tuple[int, ...]
    header_bytes: int
    total: int

    def outputs_at(self) -> int:
        """Where the output structs begin."""
        return STRUCT.size * self.inputs

    def header(self, base: int) -> bytes:
        """The structs and shapes for a block at address `base`."""
        image = bytearray(self.header_bytes)
        for i, slot in enumerate(self.slots):
            self._write(image, i, slot, base)
        return bytes(image)

    def _write(self, image: bytearray, i: int, slot: Slot, base: int) -> None:
        dtype, at = slot.dtype, STRUCT.size * i
        if slot.shape is None:
            STRUCT.pack_into(image, at, 0, CPU, 0, -1, dtype.code, dtype.bits, 1, 0, 0, 0)
            return
        shape = self.shapes[i]
        if dtype is BYTES:  # a vector of bytes; `strides` leads to the logical shape: ndim, then the sizes
            struct.pack_into(f"<{len(slot.shape) + 2}q", image, shape, slot.nbytes, len(slot.shape), *slot.shape)
            ndim, strides = 1, base + shape + 8
        else:
            struct.pack_into(f"<{len(slot.shape)}q", image, shape, *slot.shape)
            ndim, strides = len(slot.shape), 0
        STRUCT.pack_into(
            image, at, base + self.data[i], CPU, 0, ndim, dtype.code, dtype.bits, 1, base + shape, strides, 0
        )


def build(inputs: Sequence[Slot], outputs: Sequence[Slot]) -> Layout:
    """Lay out the tensors of one call."""
    slots = (*inputs, *outputs)
    at = STRUCT.size * len(slots)
    shapes = []
    for slot in slots:
        shapes.append(at)
        at += 8 * ((len(slot.shape) if slot.shape else 0) + 2)
    header = at
    data = []
    for slot in slots:
        at = -(-at // ALIGN) * ALIGN
        data.append(at)
        at += slot.nbytes
    return Layout(slots, len(inputs), tuple(shapes), tuple(data), header, max(at, ALIGN))


def known_shape(dims: tuple[int, ...], rows: int | None, dtype: DType) -> tuple[int, ...] | None:
    """An output's shape where the interface alone tells it (`rows` is the batch, None without one)."""
    if dtype is BYTES or any(d < 0 for d in dims):
        return None
    return dims if rows is None else (rows, *dims)


def output_slots(interface: Interface, rows: int | None) -> list[Slot]:
    """The outputs of a call: with room where the host knows the shape, else for the guest to fill in."""
    result = []
    for spec in interface.outputs:
        shape = known_shape(spec.dims, rows, spec.dtype)
        size = spec.dtype.itemsize
        for extent in shape or ():
            size *= extent
        result.append(Slot(spec.dtype, shape, size if shape is not None else 0))
    return result
