"""Guests in WebAssembly text: the identity model, and Extism plugins equivalent to the `add` and `echo` modules.

The plugins call the kernel's imports in the same way as Extism's own PDKs.

Source of the imports' names and types: Extism's plug-in kernel (module ``extism:host/env``).
"""

from __future__ import annotations

# Adds two float32: eight bytes of input, four of output, with the minimum number of kernel calls.
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

# Copies the input to the output, eight bytes at a time: the kernel offers plugins no larger accesses to its memory.
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

# The counterpart of models/identity_python.py: it copies the input's tensor structure to the output.
IDENTITY = """(module
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 1024))
  (func (export "portalis_abi_v1"))
  (func (export "portalis_alloc") (param $size i32) (param $align i32) (result i32) (local $at i32) (local $end i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
                            (i32.sub (i32.const 0) (local.get $align))))
    (local.set $end (i32.add (local.get $at) (local.get $size)))
    (if (i32.gt_u (local.get $end) (i32.shl (memory.size) (i32.const 16)))
      (then (if (i32.eq (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.shr_u
          (i32.sub (local.get $end) (i32.shl (memory.size) (i32.const 16))) (i32.const 16)))))
        (then (return (i32.const 0))))))
    (global.set $top (local.get $end))
    (local.get $at))
  (func (export "portalis_infer") (param $in i32) (param i32) (param $out i32) (param i32) (result i32)
    (memory.copy (local.get $out) (local.get $in) (i32.const 40))
    (i32.const 0)))"""
