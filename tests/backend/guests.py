"""Guests in WebAssembly text, including hostile ones, for the tests of the runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import wasmtime

from portalis.backend.wasm import assembler as emit
from portalis.backend.wasm.binary import read_module

PRELUDE = """
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 4096))
  (func (export "portalis_abi_v1"))
  (func $alloc (export "portalis_alloc") (param $size i32) (param $align i32) (result i32) (local $p i32) (local $end i32)
    (local.set $p (i32.and (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
                           (i32.sub (i32.const 0) (local.get $align))))
    (local.set $end (i32.add (local.get $p) (local.get $size)))
    (if (i32.gt_u (local.get $end) (i32.mul (memory.size) (i32.const 65536)))
      (then (if (i32.eq (i32.const -1) (memory.grow
          (i32.add (i32.const 1) (i32.shr_u (i32.sub (local.get $end) (i32.mul (memory.size) (i32.const 65536))) (i32.const 16)))))
        (then (return (i32.const 0))))))
    (global.set $top (local.get $end))
    (local.get $p))
  (func (export "portalis_reset") (global.set $top (i32.const 4096)))
"""


def wasm(text: str, *entries: Mapping[str, object]) -> bytes:
    """The module in `text`, with a ``portalis`` section of `entries`."""
    module = bytes(wasmtime.wat2wasm(text))
    for entry in entries:
        payload = b"\x08portalis" + json.dumps({"abi": 1, **entry}).encode()
        size, leb = len(payload), bytearray()
        while True:
            leb.append((size & 0x7F) | (0x80 if size > 0x7F else 0))
            size >>= 7
            if not size:
                break
        module += b"\0" + bytes(leb) + payload
    return module


def tensor(name: str, dtype: str = "FP32", dims: tuple[int, ...] = (-1,), **more: object) -> dict[str, object]:
    """A tensor of the interface."""
    return {"name": name, "dtype": dtype, "dims": list(dims), **more}


def dlpack(
    body: str, *, inputs: list[dict[str, object]], outputs: list[dict[str, object]], batch: int = 0, more: str = ""
) -> bytes:
    """A dlpack guest whose ``portalis_infer(in, n_in, out, n_out)`` has `body`."""
    text = f"""(module {PRELUDE} {more}
      (func $portalis_infer (export "portalis_infer") (param $in i32) (param $nin i32) (param $out i32) (param $nout i32) (result i32)
        {body}))"""
    entry = {
        "entry": "portalis_infer",
        "convention": "dlpack",
        "inputs": inputs,
        "outputs": outputs,
        "max_batch_size": batch,
    }
    return wasm(text, entry)


# The output is the input itself: same data, shape and rank.
ECHO_BODY = """
  (i32.store (local.get $out) (i32.load (local.get $in)))
  (i32.store offset=12 (local.get $out) (i32.load offset=12 (local.get $in)))
  (i32.store offset=20 (local.get $out) (i32.load offset=20 (local.get $in)))
  (i32.const 0)"""


def echo(dtype: str = "FP32", dims: tuple[int, ...] = (-1,), batch: int = 0) -> bytes:
    """A dlpack guest that returns its input."""
    return dlpack(ECHO_BODY, inputs=[tensor("x", dtype, dims)], outputs=[tensor("y", dtype, dims)], batch=batch)


ADD = (
    '(module (func (export "add") (param $a f32) (param $b f32) (result f32) (f32.add (local.get $a) (local.get $b))))'
)

# y[i] = x[i] * 2 over one core dimension, no allocator and no memory.grow: the host grows the memory.
DOUBLE = """(module (memory (export "memory") 1)
  (func (export "double") (param $x i32) (param $y i32) (param $n i32)
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $n)))
      (f32.store (local.get $y) (f32.mul (f32.load (local.get $x)) (f32.const 2)))
      (local.set $x (i32.add (local.get $x) (i32.const 4)))
      (local.set $y (i32.add (local.get $y) (i32.const 4)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br $next)))))"""

SUM = """(module (memory (export "memory") 1)
  (func (export "sum") (param $x i32) (param $n i32) (result f32) (local $s f32)
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $n)))
      (local.set $s (f32.add (local.get $s) (f32.load (local.get $x))))
      (local.set $x (i32.add (local.get $x) (i32.const 4)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br $next)))
    (local.get $s)))"""

MATMUL = """(module (memory (export "memory") 1)
  (func (export "matmul") (param $a i32) (param $b i32) (param $c i32) (param $m i64) (param $n i32) (param $p i32)
    (local $i i32) (local $j i32) (local $k i32) (local $s f64)
    (local.set $i (i32.const 0))
    (block $di (loop $li (br_if $di (i32.ge_u (local.get $i) (i32.wrap_i64 (local.get $m))))
      (local.set $j (i32.const 0))
      (block $dj (loop $lj (br_if $dj (i32.ge_u (local.get $j) (local.get $p)))
        (local.set $s (f64.const 0)) (local.set $k (i32.const 0))
        (block $dk (loop $lk (br_if $dk (i32.ge_u (local.get $k) (local.get $n)))
          (local.set $s (f64.add (local.get $s) (f64.mul
            (f64.load (i32.add (local.get $a) (i32.mul (i32.const 8) (i32.add (local.get $k) (i32.mul (local.get $i) (local.get $n))))))
            (f64.load (i32.add (local.get $b) (i32.mul (i32.const 8) (i32.add (local.get $j) (i32.mul (local.get $k) (local.get $p)))))))))
          (local.set $k (i32.add (local.get $k) (i32.const 1))) (br $lk)))
        (f64.store (i32.add (local.get $c) (i32.mul (i32.const 8) (i32.add (local.get $j) (i32.mul (local.get $i) (local.get $p))))) (local.get $s))
        (local.set $j (i32.add (local.get $j) (i32.const 1))) (br $lj)))
      (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $li)))))"""

# A WASI program: copies stdin to stdout, writes "!" to stderr, exits with the number of its arguments.
CAT = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 64) "!")
  (func (export "_start")
    (block $done (loop $next
      (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 60000))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $done (i32.eqz (i32.load (i32.const 8))))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $next)))
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call $args (i32.const 16) (i32.const 20)))
    (call $exit (i32.sub (i32.load (i32.const 16)) (i32.const 1)))))"""


def cxx_bomb(levels: int = 17) -> str:
    """A C++ name of some hundred bytes that expands to 2 ** `levels` types."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "_Z1f1AIiiE" + "".join(f"S_IS{digits[i]}_S{digits[i]}_E" for i in range(levels))


def without_names(module: bytes) -> bytes:
    """`module` without custom sections called ``name``."""
    for section in reversed(read_module(module).sections):
        if section.name == "name":
            module = module[: section.at] + module[section.end :]
    return module


def named(module: bytes, functions: Mapping[int, str]) -> bytes:
    """`module` with different names for its functions, by index."""
    return without_names(module) + emit.name_section("m", dict(functions))


def when_asked(
    code: str,
    more: str = "",
    *,
    imports: str = "",
    good: str = ECHO_BODY,
    output: Mapping[str, Any] | None = None,
) -> bytes:
    """A dlpack guest that does `code` where a row of x is 1, and `good` else."""
    text = f"""(module {imports} {PRELUDE} {more}
      (func $portalis_infer (export "portalis_infer") (param $in i32) (param $nin i32) (param $out i32) (param $nout i32)
          (result i32) (local $i i32) (local $p i32) (local $rows i32)
        (local.set $p (i32.load (local.get $in)))
        (local.set $rows (i32.wrap_i64 (i64.load (i32.load offset=20 (local.get $in)))))
        (local.set $i (local.get $rows))
        (block $done (loop $next (br_if $done (i32.eqz (local.get $i)))
          (if (f32.eq (f32.load (local.get $p)) (f32.const 1)) (then {code}))
          (local.set $p (i32.add (local.get $p) (i32.const 4)))
          (local.set $i (i32.sub (local.get $i) (i32.const 1))) (br $next)))
        {good}))"""
    entry = {
        "entry": "portalis_infer",
        "convention": "dlpack",
        "inputs": [tensor("x", dims=(1,))],
        "outputs": [dict(output) if output else tensor("y", dims=(1,))],
        "max_batch_size": 8,
    }
    return wasm(text, entry)
