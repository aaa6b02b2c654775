"""The blocks that an executor and the adapter share, as bytes: the layout of ``adapter/control.h``, in Python.

The numbers here are checked against the header by tests, and by assertions where the adapter is compiled.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..facts import ALIGN, MAX_OUT_RANK, MAX_RANK, MAX_TENSORS
from ..interface.dtypes import BOOL_TENSOR, BYTES
from ..interface.interface import TensorSpec

CONTROL_AT, ARGUMENTS_AT, TEXTS_AT = 0x10000, 0x1A000, 0x30000
HEADER = struct.Struct("<qIIIIII")  # rows, passes, generation, message, its bytes, grew
TENSOR = struct.Struct(f"<iIQQ{MAX_OUT_RANK}q")  # rank, at, bytes, bytes of a pass, dims
FIXED_AT = CONTROL_AT + HEADER.size + MAX_TENSORS * TENSOR.size
NO_MAXIMUM = (1 << 64) - 1
DONE, RENEW, INPUT, ABI, STATUS, MEMORY, OUTPUT, INTERNAL = range(8)
"""What the adapter's functions return."""
DLPACK, ELEMENTWISE, GUFUNC = range(3)
REWINDS, RESETS, EXPLAINS, FORGETS, LOOPS = 1, 2, 4, 8, 16

_TEXT = struct.Struct("<II")
_HEAD = struct.Struct("<4Iq4Q4I")
_SPEC = struct.Struct(f"<4I5B3xiiI{MAX_RANK}i4x{MAX_RANK}q")


@dataclass
class Fixed:
    """What the adapter knows of one entry. ``cores`` are each tensor's core dimensions: sizes, or -1 - the number of a
    named one; ``positions`` are places of chunks (elementwise) or pairs of arguments (gufunc)."""

    convention: int
    flags: int
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    max_batch: int
    max_tensor_bytes: int
    max_bytes_elements: int
    max_memory_bytes: int
    own_maximum: int | None
    signature: str
    allocator: str
    raise_tensor_bytes: str
    raise_bytes_elements: str
    raise_memory_bytes: str
    symbols: Sequence[str] = ()
    positions: Sequence[int] = ()
    cores: Sequence[Sequence[int]] = ()
    capacity: int = 0
    free_at: int = 0
    _texts: bytearray = field(default_factory=bytearray, repr=False)

    def data(self) -> tuple[bytes, bytes, int]:
        """The block at FIXED_AT, the texts at TEXTS_AT, and where free memory begins behind them."""
        specs = [*self.inputs, *self.outputs]
        named = [self._text(text) for text in (self.signature, self.allocator)]
        symbols = [self._text(symbol) for symbol in self.symbols]
        symbols += [_TEXT.pack(0, 0)] * (MAX_TENSORS - len(symbols))
        raised = [self._text(t) for t in (self.raise_tensor_bytes, self.raise_bytes_elements, self.raise_memory_bytes)]
        tensors = [self._spec(i, spec) for i, spec in enumerate(specs)]
        end = -(-(TEXTS_AT + len(self._texts)) // ALIGN) * ALIGN
        head = _HEAD.pack(
            self.convention,
            self.flags,
            len(self.inputs),
            len(self.outputs),
            self.max_batch,
            self.max_tensor_bytes,
            self.max_bytes_elements,
            self.max_memory_bytes,
            NO_MAXIMUM if self.own_maximum is None else self.own_maximum,
            self.capacity,
            len(self.symbols),
            self.free_at,
            end,
        )
        return b"".join([head, *named, *symbols, *raised, *tensors]), bytes(self._texts), end

    def _text(self, text: str) -> bytes:
        data = text.encode("utf-8", "surrogatepass")
        at = TEXTS_AT + len(self._texts)
        self._texts += data
        return _TEXT.pack(at, len(data))

    def _spec(self, i: int, spec: TensorSpec) -> bytes:
        core = tuple(self.cores[i]) if self.cores else ()
        name, dtype = (_TEXT.unpack(self._text(text)) for text in (spec.name, spec.dtype.name))
        bits = 0 if spec.dtype is BYTES else spec.dtype.bits
        flags = (spec.dtype.code, bits, spec.dtype.itemsize, spec.optional, spec.dtype is BOOL_TENSOR)
        position = self.positions[i] if self.positions else 0
        filled = (*core, *[0] * (MAX_RANK - len(core)), *spec.dims, *[0] * (MAX_RANK - len(spec.dims)))
        return _SPEC.pack(*name, *dtype, *flags, len(spec.dims), len(core), position, *filled)
