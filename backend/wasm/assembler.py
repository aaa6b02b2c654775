"""A small WebAssembly assembler for the modules that are generated next to a guest.

Encoding: WebAssembly core specification, chapter 5 (binary format).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

VALTYPES = {"i32": 0x7F, "i64": 0x7E, "f32": 0x7D, "f64": 0x7C, "v128": 0x7B}

BLOCK, LOOP, IF, END, BR, BR_IF, RETURN, CALL = 0x02, 0x03, 0x04, 0x0B, 0x0C, 0x0D, 0x0F, 0x10
EMPTY = 0x40
GET, SET, TEE = 0x20, 0x21, 0x22
CONST = {"i32": 0x41, "i64": 0x42, "f32": 0x43, "f64": 0x44}
I32_EQZ, I32_ADD, I32_SUB, I32_AND, I32_SHR_U = 0x45, 0x6A, 0x6B, 0x71, 0x76
LOAD = {"i32": (0x28, 2), "i64": (0x29, 3), "f32": (0x2A, 2), "f64": (0x2B, 3)}
STORE = {"i32": (0x36, 2), "i64": (0x37, 3), "f32": (0x38, 2), "f64": (0x39, 3)}


def unsigned(value: int) -> bytes:
    """`value` in unsigned LEB128."""
    return _leb128(value, max(1, -(-value.bit_length() // 7)))


def signed(value: int) -> bytes:
    """`value` in signed LEB128."""
    return _leb128(value, (value if value >= 0 else ~value).bit_length() // 7 + 1)  # with room for the sign


def _leb128(value: int, size: int) -> bytes:
    octets = bytearray()
    for _ in range(size - 1):
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value & 0x7F)
    return bytes(octets)


def vector(items: Sequence[bytes]) -> bytes:
    """A vector: the count, then the items."""
    return unsigned(len(items)) + b"".join(items)


def name(text: str) -> bytes:
    """A name: its length in bytes, then UTF-8."""
    data = text.encode()
    return unsigned(len(data)) + data


def func_type(params: Iterable[str], results: Iterable[str]) -> bytes:
    """A function type from value type names."""
    return b"\x60" + _valtypes(params) + _valtypes(results)


def _valtypes(names: Iterable[str]) -> bytes:
    return vector([bytes([VALTYPES[n]]) for n in names])


def section(number: int, body: bytes) -> bytes:
    """A section with its id and size."""
    return bytes([number]) + unsigned(len(body)) + body


def get(index: int) -> bytes:
    """``local.get``."""
    return bytes([GET]) + unsigned(index)


def put(index: int) -> bytes:
    """``local.set``."""
    return bytes([SET]) + unsigned(index)


def tee(index: int) -> bytes:
    """``local.tee``."""
    return bytes([TEE]) + unsigned(index)


def i32(value: int) -> bytes:
    """``i32.const``."""
    return bytes([CONST["i32"]]) + signed(value)


def constant(valtype: str, value: float) -> bytes:
    """A constant of any number type; integers can be signed or unsigned."""
    opcode, bits = CONST[valtype], int(valtype[1:])
    if valtype in ("i32", "i64"):
        number = int(value) & ((1 << bits) - 1)
        return bytes([opcode]) + signed(number - (number >> (bits - 1) << bits))
    return bytes([opcode]) + struct.pack("<f" if bits == 32 else "<d", value)


ZERO = {valtype: constant(valtype, 0) for valtype in CONST} | {"v128": bytes([0xFD, 12]) + bytes(16)}


def load(valtype: str, offset: int = 0) -> bytes:
    """A full-width load; the address is on the stack."""
    opcode, align = LOAD[valtype]
    return bytes([opcode, align]) + unsigned(offset)


def store(valtype: str, offset: int = 0) -> bytes:
    """A full-width store; the address and the value are on the stack."""
    opcode, align = STORE[valtype]
    return bytes([opcode, align]) + unsigned(offset)


def add(index: int, amount: bytes) -> bytes:
    """``local[index] += amount`` for i32 locals."""
    return get(index) + amount + bytes([I32_ADD]) + put(index)


def repeat(counter: int, body: bytes) -> bytes:
    """``while local[counter] != 0: body; local[counter] -= 1``. The body is nested in two labels."""
    head = bytes([BLOCK, EMPTY, LOOP, EMPTY]) + get(counter) + bytes([I32_EQZ, BR_IF, 1])
    step = get(counter) + i32(1) + bytes([I32_SUB]) + put(counter)
    return head + body + step + bytes([BR, 0, END, END])


def function(locals_: Sequence[str], code: bytes) -> bytes:
    """A code section entry: declared locals, one group each, then the code with its final ``end``."""
    body = vector([unsigned(1) + bytes([VALTYPES[t]]) for t in locals_]) + code + bytes([END])
    return unsigned(len(body)) + body


def module(*sections: bytes) -> bytes:
    """A module from its sections in order."""
    return b"\0asm\x01\0\0\0" + b"".join(sections)


def name_section(module_name: str, functions: dict[int, str]) -> bytes:
    """A name section, so that backtraces name generated functions."""
    names = vector([unsigned(i) + name(n) for i, n in sorted(functions.items())])
    body = b"".join(bytes([k]) + unsigned(len(b)) + b for k, b in ((0, name(module_name)), (1, names)))
    return section(0, name("name") + body)
