"""Guests that return their input, and do harm if an element requests it."""

from __future__ import annotations

import struct

import numpy as np

from portalis.backend.interface.dtypes import DTYPES
from tests.backend import guests, host_guests
from tests.backend.guests import tensor

ENTRIES = {"elementwise": "harm", "gufunc": "harm", "dlpack": "portalis_infer", "command": "_start"}
ALLOC = guests.PRELUDE.replace('(memory (export "memory") 1)', "").replace("4096", "16384")


def element(dtype: str, *, bad: bool) -> object:
    """The element that asks for harm, or one that does not."""
    if dtype == "BOOL":
        return bad
    if dtype == "BYTES":
        return b"Mean" if bad else b"good"
    return (0x42A0 if dtype == "BF16" else 80) if bad else (0x3F80 if dtype == "BF16" else 1)


def tensor_of(dtype: str, shape: tuple[int, ...], *, bad: bool) -> np.ndarray:
    """Elements that all ask for harm, or none."""
    return np.full(shape, element(dtype, bad=bad), DTYPES[dtype].numpy)


def _asks(dtype: str, at: str) -> str:
    """Code: whether the element at that address asks for harm."""
    if dtype == "BYTES":
        return f"(i32.eq (i32.load8_u offset=4 {at}) (i32.const {ord('M')}))"
    found = DTYPES[dtype]
    bits = int.from_bytes(tensor_of(dtype, (1,), bad=True).tobytes(), "little")
    if found.itemsize == 8:
        return f"(i64.eq (i64.load {at}) (i64.const {bits}))"
    load = {1: "i32.load8_u", 2: "i32.load16_u", 4: "i32.load"}[found.itemsize]
    return f"(i32.eq ({load} {at}) (i32.const {bits}))"


def elementwise(dtype: str, code: str, *, batch: int, more: str = "", imports: str = "", memory: str = "") -> bytes:
    """y = x."""
    kind = DTYPES[dtype].wasm
    value = {"i32": 1 if dtype == "BOOL" else 80}.get(kind, 80)
    text = f"""(module {imports} {memory or '(memory (export "memory") 1)'} {more}
      (func (export "harm") (param $x {kind}) (result {kind})
        (if ({kind}.eq (local.get $x) ({kind}.const {value})) (then {code})) (local.get $x)))"""
    described = {"entry": "harm", "convention": "elementwise", "max_batch_size": batch}
    return guests.wasm(text, {**described, "inputs": [tensor("x", dtype)], "outputs": [tensor("y", dtype)]})


def gufunc(
    dtype: str, code: str, *, batch: int, more: str = "", imports: str = "", memory: str = "", status: bool = False
) -> bytes:
    """y = x, element by element."""
    size = DTYPES[dtype].itemsize
    text = f"""(module {imports} {memory or '(memory (export "memory") 1)'} {more}
      (func (export "harm") (param $x i32) (param $y i32) {"(result i32)" if status else ""}
        (if {_asks(dtype, "(local.get $x)")} (then {code}))
        (memory.copy (local.get $y) (local.get $x) (i32.const {size})) {"(i32.const 0)" if status else ""}))"""
    described = {"entry": "harm", "convention": "gufunc", "signature": "()->()", "max_batch_size": batch}
    if status:
        described["returns"] = "status"
    return guests.wasm(text, {**described, "inputs": [tensor("x", dtype)], "outputs": [tensor("y", dtype)]})


def dlpack(
    dtype: str,
    code: str,
    *,
    batch: int,
    more: str = "",
    imports: str = "",
    memory: str = "",
    output: dict[str, object] | None = None,
    dims: tuple[int, ...] = (-1,),
    alloc: str = ALLOC,
) -> bytes:
    """A guest with y = x. $p is the address of the element that requests harm."""
    total = """(block $all (loop $each (br_if $all (i32.eqz (local.get $rank)))
        (local.set $bytes (i32.mul (local.get $bytes) (i32.wrap_i64 (i64.load (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $rank (i32.sub (local.get $rank) (i32.const 1))) (br $each)))"""
    step = "(i32.add (i32.const 4) (i32.load (local.get $p)))" if dtype == "BYTES" else ""
    copies = "(i32.store offset=24 (local.get $out) (i32.load offset=24 (local.get $in)))" if dtype == "BYTES" else ""
    text = f"""(module {imports} {memory or '(memory (export "memory") 1)'} {alloc} {more}
      (func (export "portalis_infer") (param $in i32) (param $nin i32) (param $out i32) (param $nout i32) (result i32)
          (local $p i32) (local $bytes i32) (local $rank i32) (local $at i32) (local $end i32)
        (local.set $p (i32.load (local.get $in)))
        (local.set $bytes (i32.const {DTYPES[dtype].itemsize}))
        (local.set $rank (i32.load offset=12 (local.get $in)))
        (local.set $at (i32.load offset=20 (local.get $in)))
        {total} (local.set $end (i32.add (local.get $p) (local.get $bytes)))
        (block $done (loop $next (br_if $done (i32.ge_u (local.get $p) (local.get $end)))
          (if {_asks(dtype, "(local.get $p)")} (then {code}))
          (local.set $p (i32.add (local.get $p) {step or f"(i32.const {DTYPES[dtype].itemsize})"})) (br $next)))
        {copies} {guests.ECHO_BODY}))"""
    described = {"entry": "portalis_infer", "convention": "dlpack", "max_batch_size": batch}
    output = output or tensor("y", dtype, dims)
    return guests.wasm(text, {**described, "inputs": [tensor("x", dtype, dims)], "outputs": [output]})


def command(code: str, *, batch: int, more: str = "", imports: str = "", memory: str = "") -> bytes:
    """A command with stdout = stdin. Imports of the row follow the command's own."""
    io = host_guests.imports("fd_write") + '(import "wasi_snapshot_preview1" "fd_read" (func $fd_read'
    io += " (param i32 i32 i32 i32) (result i32)))"
    imports = imports.replace(host_guests.imports("fd_write"), "")
    text = f"""(module {io} {imports} {memory or '(memory (export "memory") 1)'} {more}
      (func (export "_start")
        (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 4096))
        (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (if (i32.eq (i32.load8_u (i32.const 1024)) (i32.const {ord("M")})) (then {code}))
        (i32.store (i32.const 4) (i32.load (i32.const 8)))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
    described = {
        "convention": "command",
        "entry": "_start",
        "max_batch_size": batch,
        "inputs": [tensor("stdin", "BYTES", (1,))],
        "outputs": [tensor("stdout", "BYTES", (1,))],
    }
    return guests.wasm(text, described)


def text_at(address: int, text: bytes) -> str:
    """A data segment."""
    escaped = "".join(f"\\{byte:02x}" for byte in text)
    return f'(data (i32.const {address}) "{escaped}")'


def says(address: int, text: bytes, *, stream: int = 2) -> str:
    """Code that writes `text`, stored at `address`, to a stream; it clobbers the 32 bytes before it."""
    return f"""(i32.store (i32.const {address - 32}) (i32.const {address}))
      (i32.store (i32.const {address - 28}) (i32.const {len(text)}))
      (drop (call $fd_write (i32.const {stream}) (i32.const {address - 32}) (i32.const 1) (i32.const {address - 16})))"""


def abort_text(address: int, text: str) -> str:
    """A string of AssemblyScript at `address`: UTF-16, its size before it."""
    data = text.encode("utf-16-le", "surrogatepass")
    return text_at(address - 4, struct.pack("<I", len(data)) + data)
