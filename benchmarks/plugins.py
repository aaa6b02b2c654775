"""Extism plugins equal to our guests, in WebAssembly text. They use the kernel's imports as Extism's own PDKs do.

Source of the imports' names and types: Extism's plug-in kernel (module ``extism:host/env``).
"""

from __future__ import annotations

# Two float32 in eight bytes of input; their sum as four bytes of output: the fewest kernel calls that can do it.
ADD = """(module
  (import "extism:host/env" "input_load_u64" (func $load (param i64) (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (memory (export "memory") 1)
  (func (export "add") (result i32) (local $pair i64) (local $at i64)
    (local.set $pair (call $load (i64.const 0)))
    (local.set $at (call $alloc (i64.const 8)))
    (call $store (local.get $at) (i64.extend_i32_u (i32.reinterpret_f32 (f32.add
      (f32.reinterpret_i32 (i32.wrap_i64 (local.get $pair)))
      (f32.reinterpret_i32 (i32.wrap_i64 (i64.shr_u (local.get $pair) (i64.const 32))))))))
    (call $output (local.get $at) (i64.const 4))
    (i32.const 0)))"""

# Copies the input to the output eight bytes at a time: a plugin reaches the kernel's memory in no other way.
ECHO = """(module
  (import "extism:host/env" "input_length" (func $length (result i64)))
  (import "extism:host/env" "input_load_u64" (func $load (param i64) (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (memory (export "memory") 1)
  (func (export "echo") (result i32) (local $i i64) (local $n i64) (local $at i64)
    (local.set $n (call $length))
    (local.set $at (call $alloc (local.get $n)))
    (block $done (loop $next
      (br_if $done (i64.ge_u (local.get $i) (local.get $n)))
      (call $store (i64.add (local.get $at) (local.get $i)) (call $load (local.get $i)))
      (local.set $i (i64.add (local.get $i) (i64.const 8)))
      (br $next)))
    (call $output (local.get $at) (local.get $n))
    (i32.const 0)))"""
