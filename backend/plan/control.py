"""Layout of the control block, which executor and adapter share, as in ``adapter/control.h``.

Tests compare the numbers with the header, and so do assertions when the adapter is compiled.
"""

from __future__ import annotations

import struct

from ..constants import ALIGN, MAX_OUT_RANK, MAX_RANK, MAX_TENSORS
from ..interface.dtypes import BOOL_TENSOR, BYTES
from ..interface.interface import Convention, Interface, TensorSpec
from ..limits import Limits
from ..setting_names import SettingNames
from ..wasm.binary import ModuleInfo
from .buffers import Allocator, declared_maximum_bytes
from .plan_modules import LoweredEntry

CONTROL_AT, ARGUMENTS_AT, TEXTS_AT = 0x10000, 0x1A000, 0x30000
HEADER = struct.Struct("<qIIIIII")
"""rows, passes, generation, message address, message size, grew."""
TENSOR = struct.Struct(f"<iIQQ{MAX_OUT_RANK}q")
"""rank, address, bytes, bytes per pass, dims."""
FIXED_AT = CONTROL_AT + HEADER.size + MAX_TENSORS * TENSOR.size
NO_MAXIMUM = (1 << 64) - 1
DONE, RENEW, INPUT, ABI, STATUS, MEMORY, OUTPUT, INTERNAL = range(8)
"""Status codes that the adapter's functions return."""
DLPACK, ELEMENTWISE, GUFUNC = range(3)
REWINDS, RESETS, EXPLAINS, FORGETS, LOOPS = 1, 2, 4, 8, 16

_CONVENTIONS = {Convention.DLPACK: DLPACK, Convention.ELEMENTWISE: ELEMENTWISE, Convention.GUFUNC: GUFUNC}
_TEXTS = struct.Struct(f"<{2 * (2 + MAX_TENSORS + 3)}I")  # signature, allocator; symbols; advice
_HEAD = struct.Struct("<4Iq4Q4I")
_SPEC = struct.Struct(f"<4I5B3xiiI{MAX_RANK}i4x{MAX_RANK}q")


def pack_fixed(
    info: ModuleInfo,
    interface: Interface,
    limits: Limits,
    setting_names: SettingNames,
    lowered: LoweredEntry,
    *,
    rewinds: bool,
) -> tuple[bytes, bytes, int]:
    """The description of one entry for the adapter: the block at FIXED_AT, the strings at TEXTS_AT, and the address
    after them, where free memory begins."""
    texts, allocator, symbols = _Strings(), lowered.allocator, lowered.symbols
    named = texts.put(str(interface.signature or ""), "" if allocator in (None, Allocator.PAGES) else allocator.value)
    named += [*texts.put(*symbols), *[0, 0] * (MAX_TENSORS - len(symbols))]
    named += texts.put(*map(setting_names.raise_advice, ("max_tensor_bytes", "max_bytes_elements", "max_memory_bytes")))
    specs = (*interface.inputs, *interface.outputs)
    tensors = b"".join(_pack_tensor(i, spec, lowered, texts) for i, spec in enumerate(specs))
    maximum, end = declared_maximum_bytes(info), -(-(TEXTS_AT + len(texts.data)) // ALIGN) * ALIGN
    head = _HEAD.pack(
        _CONVENTIONS[interface.convention],
        _flags(info, interface, lowered, rewinds),
        len(interface.inputs),
        len(interface.outputs),
        interface.max_batch_size,
        limits.max_tensor_bytes,
        limits.max_bytes_elements,
        limits.max_memory_bytes,
        NO_MAXIMUM if maximum is None else maximum,
        lowered.capacity,
        len(symbols),
        lowered.end,
        end,
    )
    return head + _TEXTS.pack(*named) + tensors, bytes(texts.data), end


def _flags(info: ModuleInfo, interface: Interface, lowered: LoweredEntry, rewinds: bool) -> int:
    dlpack = interface.convention is Convention.DLPACK
    bits = {
        REWINDS: rewinds,
        RESETS: dlpack and info.export("portalis_reset") is not None,
        EXPLAINS: dlpack and info.export("portalis_error") is not None,
        FORGETS: lowered.allocator is Allocator.PORTALIS,
        LOOPS: lowered.kernel is not None,
    }
    return sum(bit for bit, is_set in bits.items() if is_set)


class _Strings:
    """Concatenated strings."""

    def __init__(self) -> None:
        self.data = bytearray()

    def put(self, *texts: str) -> list[int]:
        """Append `texts`; returns the address and size of each."""
        numbers = []
        for text in texts:
            content = text.encode("utf-8", "surrogatepass")
            numbers += [TEXTS_AT + len(self.data), len(content)]
            self.data += content
        return numbers


def _pack_tensor(i: int, spec: TensorSpec, lowered: LoweredEntry, texts: _Strings) -> bytes:
    core = tuple(lowered.cores[i]) if lowered.cores else ()
    bits = 0 if spec.dtype is BYTES else spec.dtype.bits
    flags = (spec.dtype.code, bits, spec.dtype.itemsize, spec.optional, spec.dtype is BOOL_TENSOR)
    position = lowered.positions[i] if lowered.positions else 0
    filled = (*core, *[0] * (MAX_RANK - len(core)), *spec.dims, *[0] * (MAX_RANK - len(spec.dims)))
    names = texts.put(spec.name, spec.dtype.name)
    return _SPEC.pack(*names, *flags, len(spec.dims), len(core), position, *filled)
