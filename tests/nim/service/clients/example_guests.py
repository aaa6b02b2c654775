"""Guests with the inputs and outputs of the models that Triton's client examples use, in WebAssembly text."""

from __future__ import annotations

from typing import Final

from tests.backend.guests import ECHO_BODY, dlpack, tensor

BATCH: Final = 64
"""The maximum batch size of each guest; the configuration of a model lowers it."""

_INTEGERS: Final = {"INT32": ("i32.load", "i32.store", 4), "INT8": ("i32.load8_s", "i32.store8", 1)}

# rows of the first input: the first number of its shape
_ROWS = "(i32.wrap_i64 (i64.load (i32.load offset=20 (local.get $in))))"

_PARSE = """
  (func $parse (param $p i32) (param $size i32) (result i32) (local $value i32) (local $negative i32) (local $end i32)
    (local.set $end (i32.add (local.get $p) (local.get $size)))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $p) (local.get $end)))
      (if (i32.eq (i32.load8_u (local.get $p)) (i32.const 45))
        (then (local.set $negative (i32.const 1)))
        (else (local.set $value (i32.add
          (i32.mul (local.get $value) (i32.const 10)) (i32.sub (i32.load8_u (local.get $p)) (i32.const 48))))))
      (local.set $p (i32.add (local.get $p) (i32.const 1)))
      (br $next)))
    (if (result i32) (local.get $negative) (then (i32.sub (i32.const 0) (local.get $value))) (else (local.get $value))))
"""
_FORMAT = """
  (func $format (param $p i32) (param $value i32) (result i32) (local $q i32) (local $rest i32) (local $end i32)
    (local.set $q (i32.add (local.get $p) (i32.const 4)))
    (if (i32.lt_s (local.get $value) (i32.const 0)) (then
      (i32.store8 (local.get $q) (i32.const 45))
      (local.set $q (i32.add (local.get $q) (i32.const 1)))
      (local.set $value (i32.sub (i32.const 0) (local.get $value)))))
    (local.set $rest (local.get $value))
    (loop $count
      (local.set $q (i32.add (local.get $q) (i32.const 1)))
      (br_if $count (local.tee $rest (i32.div_u (local.get $rest) (i32.const 10)))))
    (local.set $end (local.get $q))
    (loop $digit
      (local.set $q (i32.sub (local.get $q) (i32.const 1)))
      (i32.store8 (local.get $q) (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10))))
      (br_if $digit (local.tee $value (i32.div_u (local.get $value) (i32.const 10)))))
    (i32.store (local.get $p) (i32.sub (local.get $end) (i32.add (local.get $p) (i32.const 4))))
    (local.get $end))
"""


def sum_and_difference(dtype: str) -> bytes:
    """OUTPUT0 = INPUT0 + INPUT1 and OUTPUT1 = INPUT0 - INPUT1, of 16 integers a row."""
    load, store, size = _INTEGERS[dtype]
    body = f"""(local $a i32) (local $b i32) (local $at i32) (local $end i32)
      (local.set $a (i32.load (local.get $in))) (local.set $b (i32.load offset=40 (local.get $in)))
      (local.set $end (i32.mul {_ROWS} (i32.const {16 * size})))
      (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        ({store} (i32.add (i32.load (local.get $out)) (local.get $at)) (i32.add
          ({load} (i32.add (local.get $a) (local.get $at))) ({load} (i32.add (local.get $b) (local.get $at)))))
        ({store} (i32.add (i32.load offset=40 (local.get $out)) (local.get $at)) (i32.sub
          ({load} (i32.add (local.get $a) (local.get $at))) ({load} (i32.add (local.get $b) (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const {size})))
        (br $next)))
      (i32.const 0)"""
    return dlpack(body, inputs=_pair("INPUT", dtype), outputs=_pair("OUTPUT", dtype), batch=BATCH)


def string_sum_and_difference() -> bytes:
    """The same as `sum_and_difference`, of decimal numbers that are BYTES."""
    # an output has at most 15 bytes per element: the length, a sign and ten digits
    body = f"""(local $a i32) (local $b i32) (local $s i32) (local $d i32) (local $end i32) (local $x i32) (local $y i32)
      (local $shapes i32) (local $room i32)
      (local.set $a (i32.load (local.get $in))) (local.set $b (i32.load offset=40 (local.get $in)))
      (local.set $end (i32.add (local.get $a) (i32.wrap_i64 (i64.load (i32.load offset=20 (local.get $in))))))
      (local.set $room (i32.mul (i32.const {16 * 15})
        (i32.wrap_i64 (i64.load offset=8 (i32.load offset=24 (local.get $in))))))
      (local.set $shapes (call $alloc (i32.const 16) (i32.const 8)))
      (local.set $s (call $alloc (local.get $room) (i32.const 8)))
      (local.set $d (call $alloc (local.get $room) (i32.const 8)))
      (i32.store (local.get $out) (local.get $s)) (i32.store offset=40 (local.get $out) (local.get $d))
      (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $a) (local.get $end)))
        (local.set $x (call $parse (i32.add (local.get $a) (i32.const 4)) (i32.load (local.get $a))))
        (local.set $y (call $parse (i32.add (local.get $b) (i32.const 4)) (i32.load (local.get $b))))
        (local.set $s (call $format (local.get $s) (i32.add (local.get $x) (local.get $y))))
        (local.set $d (call $format (local.get $d) (i32.sub (local.get $x) (local.get $y))))
        (local.set $a (i32.add (local.get $a) (i32.add (i32.load (local.get $a)) (i32.const 4))))
        (local.set $b (i32.add (local.get $b) (i32.add (i32.load (local.get $b)) (i32.const 4))))
        (br $next)))
      (i64.store (local.get $shapes) (i64.extend_i32_u (i32.sub (local.get $s) (i32.load (local.get $out)))))
      (i64.store offset=8 (local.get $shapes)
        (i64.extend_i32_u (i32.sub (local.get $d) (i32.load offset=40 (local.get $out)))))
      (i32.store offset=12 (local.get $out) (i32.const 1)) (i32.store offset=52 (local.get $out) (i32.const 1))
      (i32.store offset=20 (local.get $out) (local.get $shapes))
      (i32.store offset=60 (local.get $out) (i32.add (local.get $shapes) (i32.const 8)))
      (i32.store offset=24 (local.get $out) (i32.load offset=24 (local.get $in)))
      (i32.store offset=64 (local.get $out) (i32.load offset=24 (local.get $in)))
      (i32.const 0)"""
    return dlpack(
        body, inputs=_pair("INPUT", "BYTES"), outputs=_pair("OUTPUT", "BYTES"), batch=BATCH, more=_PARSE + _FORMAT
    )


def identity(dtype: str) -> bytes:
    """OUTPUT0 = INPUT0, a vector a row."""
    body = "(i32.store offset=24 (local.get $out) (i32.load offset=24 (local.get $in)))" + ECHO_BODY
    return dlpack(body, inputs=[tensor("INPUT0", dtype)], outputs=[tensor("OUTPUT0", dtype)], batch=BATCH)


def sequence(*, dynamic: bool = False) -> bytes:
    """OUTPUT = INPUT + START; a `dynamic` one adds the correlation id where END is 1."""
    at = "(i32.mul (local.get $row) (i32.const 4))"
    ending = f"""(if (i32.load (i32.add (i32.load offset=80 (local.get $in)) {at})) (then
        (local.set $value (i32.add (local.get $value)
          (i32.load (i32.add (i32.load offset=120 (local.get $in)) (i32.mul (local.get $row) (i32.const 8))))))))"""
    body = f"""(local $row i32) (local $value i32)
      (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $row) {_ROWS}))
        (local.set $value (i32.add (i32.load (i32.add (i32.load (local.get $in)) {at}))
          (i32.load (i32.add (i32.load offset=40 (local.get $in)) {at}))))
        {ending if dynamic else ""}
        (i32.store (i32.add (i32.load (local.get $out)) {at}) (local.get $value))
        (local.set $row (i32.add (local.get $row) (i32.const 1)))
        (br $next)))
      (i32.const 0)"""
    controls = [tensor("END", "INT32", (1,)), tensor("CORRID", "UINT64", (1,))] if dynamic else []
    inputs = [tensor("INPUT", "INT32", (1,)), tensor("START", "INT32", (1,)), *controls]
    return dlpack(body, inputs=inputs, outputs=[tensor("OUTPUT", "INT32", (1,))], batch=BATCH)


def accumulating_sequence() -> bytes:
    """OUTPUT = the sum of INPUT since START; where END is 1, plus the number that the correlation id, BYTES, spells.

    The sums are in a table in the guest's memory, by the last bits of that number.
    """
    body = """(local $row i32) (local $sum i32) (local $id i32) (local $corrid i32) (local $entry i32)
      (local.set $corrid (i32.load offset=120 (local.get $in)))
      (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $row) (i32.wrap_i64 (i64.load (i32.load offset=20 (local.get $in))))))
        (local.set $id
          (call $parse (i32.add (local.get $corrid) (i32.const 4)) (i32.load (local.get $corrid))))
        (local.set $entry (i32.add (i32.const 1024) (i32.shl (i32.and (local.get $id) (i32.const 255)) (i32.const 2))))
        (local.set $sum (i32.load (i32.add (i32.load (local.get $in)) (i32.shl (local.get $row) (i32.const 2)))))
        (if (i32.eqz (i32.load (i32.add (i32.load offset=40 (local.get $in)) (i32.shl (local.get $row) (i32.const 2)))))
          (then (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $entry))))))
        (i32.store (local.get $entry) (local.get $sum))
        (if (i32.load (i32.add (i32.load offset=80 (local.get $in)) (i32.shl (local.get $row) (i32.const 2))))
          (then (local.set $sum (i32.add (local.get $sum) (local.get $id)))))
        (i32.store (i32.add (i32.load (local.get $out)) (i32.shl (local.get $row) (i32.const 2))) (local.get $sum))
        (local.set $corrid (i32.add (local.get $corrid) (i32.add (i32.load (local.get $corrid)) (i32.const 4))))
        (local.set $row (i32.add (local.get $row) (i32.const 1)))
        (br $next)))
      (i32.const 0)"""
    controls = [tensor("START", "INT32", (1,)), tensor("END", "INT32", (1,)), tensor("CORRID", "BYTES", (1,))]
    inputs = [tensor("INPUT", "INT32", (1,)), *controls]
    return dlpack(body, inputs=inputs, outputs=[tensor("OUTPUT", "INT32", (1,))], batch=BATCH, more=_PARSE)


def classifier(name: str, dims: tuple[int, int, int], output: str, classes: int) -> bytes:
    """The score of each of `classes` classes is one value of the image, FP32 of `dims`, in equal distances."""
    size = dims[0] * dims[1] * dims[2]
    step = size // classes
    body = f"""(local $row i32) (local $class i32)
      (block $end (loop $rows
        (br_if $end (i32.ge_u (local.get $row) {_ROWS}))
        (local.set $class (i32.const 0))
        (loop $next
          (f32.store
            (i32.add (i32.load (local.get $out)) (i32.shl (i32.add
              (i32.mul (local.get $row) (i32.const {classes})) (local.get $class)) (i32.const 2)))
            (f32.load (i32.add (i32.load (local.get $in)) (i32.shl (i32.add
              (i32.mul (local.get $row) (i32.const {size})) (i32.mul (local.get $class) (i32.const {step}))) (i32.const 2)))))
          (local.set $class (i32.add (local.get $class) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $class) (i32.const {classes}))))
        (local.set $row (i32.add (local.get $row) (i32.const 1)))
        (br $rows)))
      (i32.const 0)"""
    return dlpack(body, inputs=[tensor(name, dims=dims)], outputs=[tensor(output, dims=(classes,))], batch=BATCH)


def picture(dims: tuple[int, int, int]) -> bytes:
    """PIXELS, FP32 of `dims`: the bytes of the file INPUT, repeated, each divided by 255."""
    size = dims[0] * dims[1] * dims[2]
    body = f"""(local $row i32) (local $file i32) (local $bytes i32) (local $at i32) (local $to i32)
      (local.set $file (i32.load (local.get $in)))
      (local.set $to (i32.load (local.get $out)))
      (block $end (loop $rows
        (br_if $end (i32.ge_u (local.get $row) (i32.wrap_i64 (i64.load offset=8 (i32.load offset=24 (local.get $in))))))
        (local.set $bytes (i32.load (local.get $file)))
        (local.set $at (i32.const 0))
        (loop $next
          (f32.store (local.get $to) (if (result f32) (local.get $bytes)
            (then (f32.div (f32.convert_i32_u (i32.load8_u offset=4 (i32.add (local.get $file)
              (i32.rem_u (local.get $at) (local.get $bytes))))) (f32.const 255)))
            (else (f32.const 0))))
          (local.set $to (i32.add (local.get $to) (i32.const 4)))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $at) (i32.const {size}))))
        (local.set $file (i32.add (local.get $file) (i32.add (local.get $bytes) (i32.const 4))))
        (local.set $row (i32.add (local.get $row) (i32.const 1)))
        (br $rows)))
      (i32.const 0)"""
    return dlpack(body, inputs=[tensor("INPUT", "BYTES", (1,))], outputs=[tensor("PIXELS", dims=dims)], batch=BATCH)


def _pair(name: str, dtype: str) -> list[dict[str, object]]:
    return [tensor(f"{name}{number}", dtype, (16,)) for number in (0, 1)]
