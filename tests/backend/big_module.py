"""Generates valid modules of any size, for tests and benchmarks of compiling and loading."""

from __future__ import annotations

import random

_LOCALS = 8
_STATEMENTS = 256  # in a function: about 2 KiB
_F32 = b"\x7d"
# f32 instructions that take two operands: add, sub, mul, min, max, copysign.
_BINARY = (0x92, 0x93, 0x94, 0x96, 0x97, 0x98)


def leb(number: int) -> bytes:
    """`number` as unsigned LEB128."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def section(kind: int, payload: bytes) -> bytes:
    """A section of a module."""
    return bytes([kind]) + leb(len(payload)) + payload


def vector(items: list[bytes]) -> bytes:
    """A vector: the number of items, then the items."""
    return leb(len(items)) + b"".join(items)


def sized(body: bytes) -> bytes:
    """An entry of the code section."""
    return leb(len(body)) + body


def module(types: list[bytes], functions: list[int], exports: list[bytes], bodies: list[bytes]) -> bytes:
    """A module of these types, functions (each by the number of its type), exports and bodies."""
    return b"".join(
        (
            b"\0asm\1\0\0\0",
            section(1, vector(types)),
            section(3, vector([leb(number) for number in functions])),
            section(7, vector(exports)),
            section(10, vector([sized(body) for body in bodies])),
        )
    )


def _statement(rng: random.Random) -> bytes:
    """``to = a op b`` over the parameter and the locals, now and then under ``if a < b``."""
    a, b, to = (leb(rng.randrange(_LOCALS + 1)) for _ in range(3))
    code = b"\x20" + a + b"\x20" + b + bytes([rng.choice(_BINARY)]) + b"\x21" + to
    return b"\x20" + a + b"\x20" + b + b"\x5d\x04\x40" + code + b"\x0b" if rng.random() < 0.1 else code


def big_module(size_bytes: int) -> bytes:
    """A valid module of about `size_bytes`, always the same one, whose export ``f(f32) -> f32`` doubles its
    argument.

    Its other functions are never called, but they are compiled too.
    """
    rng = random.Random(20261123)
    statements = [_statement(rng) for _ in range(4096)]
    bodies = [b"\x00\x20\x00\x20\x00\x92\x0b"]
    missing = size_bytes
    while missing > 0:
        code = b"".join(rng.choices(statements, k=_STATEMENTS))
        index = len(bodies)
        bodies.append(b"\x01" + leb(_LOCALS) + _F32 + code + b"\x20" + leb(index % (_LOCALS + 1)) + b"\x0b")
        missing -= len(bodies[-1]) + 3
    return module([b"\x60\x01" + _F32 + b"\x01" + _F32], [0] * len(bodies), [b"\x01f\x00\x00"], bodies)


def slow_module(functions: int = 4000) -> bytes:
    """A small module that takes long to compile: functions of 50,000 locals, a millisecond each."""
    body = b"\x01" + leb(49_990) + b"\x7f\x0b"
    return module([b"\x60\x00\x00"], [0] * functions, [], [body] * functions)


def hungry_module() -> bytes:
    """A module of five kilobytes that needs gigabytes to compile: loops that carry hundreds of values each."""
    values = 400
    wide = b"\x60" + leb(values) + b"\x7f" * values + leb(values) + b"\x7f" * values
    loops = b"\x03\x01\x41\x00\x0d\x00\x0b" * 600
    body = b"\x01\x01\x7f" + b"\x20\x00" * values + loops + b"\x1a" * values + b"\x0b"
    return module([b"\x60\x00\x00", wide], [0], [], [body])
