"""Guests that record the requests to their allocator and report them as an output."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from portalis.backend import Limits, Program
from portalis.backend.plan.buffers import Allocator, choose_allocator
from tests.backend import guests
from tests.backend.guests import tensor

ALIGN = 64
F32, I32 = np.float32, np.int32
LOG, ADDRESSES, WORDS = 0x8000, 0x7000, 64
NAMES = ("portalis_alloc", "cabi_realloc", "malloc", "free", "__new", "__pin", "__unpin")
# the allocator's results: consecutive addresses from a table
TABLE = """(func $address (result i32) (local $at i32) (local.set $at (global.get $next))
  (global.set $next (i32.add (local.get $at) (i32.const 4))) (i32.load (local.get $at)))"""
# or anything from 128 KiB to 1.2 MiB
RANDOM = """(func $address (result i32)
  (global.set $next (i32.add (i32.mul (global.get $next) (i32.const 1664525)) (i32.const 1013904223)))
  (i32.add (i32.const 131073) (i32.and (i32.shr_u (global.get $next) (i32.const 8)) (i32.const 1048575))))"""
GIVEN = {
    Allocator.PORTALIS: """(func (export "portalis_alloc") (param i32 i32) (result i32)
      (call $note (i32.const 0) (local.get 0) (local.get 1) (i32.const -1) (i32.const -1)) (call $give))""",
    Allocator.CABI: """(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (call $note (i32.const 1) (local.get 0) (local.get 1) (local.get 2) (local.get 3)) (call $give))""",
    Allocator.MALLOC: """(func (export "malloc") (param i32) (result i32)
      (call $note (i32.const 2) (local.get 0) (i32.const -1) (i32.const -1) (i32.const -1)) (call $give))
      (func (export "free") (param i32)
        (call $note (i32.const 3) (local.get 0) (i32.const -1) (i32.const -1) (i32.const -1)))""",
    Allocator.ASSEMBLYSCRIPT: """(func (export "__new") (param i32 i32) (result i32)
      (call $note (i32.const 4) (local.get 0) (local.get 1) (i32.const -1) (i32.const -1)) (call $give))
      (func (export "__pin") (param i32) (result i32)
        (call $note (i32.const 5) (local.get 0) (i32.const -1) (i32.const -1) (i32.const -1)) (local.get 0))
      (func (export "__unpin") (param i32)
        (call $note (i32.const 6) (local.get 0) (i32.const -1) (i32.const -1) (i32.const -1)))""",
    Allocator.PAGES: "",
}
NOTING = """
  (global $next (mut i32) (i32.const {first})) (global $last (mut i32) (i32.const 0))
  (func $note (param i32 i32 i32 i32 i32) (local $at i32)
    (local.set $at (i32.add (i32.const {log}) (i32.mul (i32.load (i32.const {log})) (i32.const 20))))
    (i32.store offset=4 (local.get $at) (local.get 0)) (i32.store offset=8 (local.get $at) (local.get 1))
    (i32.store offset=12 (local.get $at) (local.get 2)) (i32.store offset=16 (local.get $at) (local.get 3))
    (i32.store offset=20 (local.get $at) (local.get 4))
    (i32.store (i32.const {log}) (i32.add (i32.load (i32.const {log})) (i32.const 1))))
  {address}
  (func $give (result i32) (global.set $last (call $address)) (global.get $last))
  (func (export "k") (param $x i32) (param $l i32) (param $y i32) (param $n i32) (param $m i32)
    (memory.copy (i32.add (local.get $y) (i32.const 20)) (i32.const {log}) (i32.const {bytes}))
    (i32.store (local.get $y) (local.get $x)) (i32.store offset=4 (local.get $y) (local.get $l))
    (i32.store offset=8 (local.get $y) (local.get $y)) (i32.store offset=12 (local.get $y) (memory.size))
    (i32.store offset=16 (local.get $y) (global.get $last)))
"""
KERNEL = {
    "entry": "k",
    "convention": "gufunc",
    "signature": "(n),(m)->(m)",
    "inputs": [tensor("x"), tensor("l", "INT32")],
    "outputs": [tensor("y", "INT32")],
}


@dataclass
class Seen:
    """Observations of a kernel: addresses of its tensors, pages of its memory, the allocator's last result, and the sum
    of all requested sizes."""

    x: int
    l: int  # noqa: E741
    y: int
    pages: int
    last: int
    asked: list[tuple[str, tuple[int, ...]]]


def noting(
    allocator: Allocator,
    addresses: Sequence[int] = (),
    *,
    memory: str = "2",
    limits: Limits | None = None,
    more: str = "",
) -> Program:
    """A program whose kernel reports `Seen`; its only instance is kept."""
    table = "".join(f"\\{byte:02x}" for byte in struct.pack(f"<{len(addresses)}I", *addresses))
    first, address = (ADDRESSES, TABLE) if addresses else (7, RANDOM)
    code = NOTING.format(log=LOG, first=first, address=address, bytes=4 * WORDS - 20)
    text = f'(module (memory (export "memory") {memory}) (data (i32.const {ADDRESSES}) "{table}") {code}'
    program = Program.load(
        guests.wasm(f"{text} {GIVEN[allocator]} {more})", KERNEL), isolation="instance", limits=limits
    )
    assert choose_allocator(program.info) is allocator
    return program


def inputs(elements: int) -> dict[str, np.ndarray]:
    return {"x": np.zeros(elements, F32), "l": np.zeros(WORDS, I32)}


def size_of(elements: int) -> int:
    """The bytes of all tensors: x, and twice WORDS, each at a multiple of ALIGN."""
    return -(-4 * elements // ALIGN) * ALIGN + 2 * 4 * WORDS


def see(program: Program, elements: int) -> Seen:
    words = program.run(inputs(elements))["y"].tolist()
    x, l, y, pages, last, count, *records = words  # noqa: E741
    asked = []
    for i in range(count):
        tag, *arguments = records[5 * i : 5 * i + 5]
        asked.append((NAMES[tag], tuple(each for each in arguments if each != -1)))
    return Seen(x, l, y, pages, last, asked)
