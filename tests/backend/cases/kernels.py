"""The guests of the table, one for each convention, and good for every data type."""

from __future__ import annotations

from typing import Any

from portalis.backend.interface.dtypes import DTYPES
from tests.backend import guests
from tests.backend.guests import tensor

Described = list[dict[str, Any]]
# multiplies $bytes, an element's, by the dims of the tensor at $in
TIMES_DIMS = """(local.set $rank (i32.load offset=12 (local.get $in)))
  (local.set $at (i32.load offset=20 (local.get $in)))
  (block $all (loop $each (br_if $all (i32.eqz (local.get $rank)))
    (local.set $bytes (i32.mul (local.get $bytes) (i32.wrap_i64 (i64.load (local.get $at)))))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (local.set $rank (i32.sub (local.get $rank) (i32.const 1))) (br $each)))"""
XOR = """(block $done (loop $next (br_if $done (i32.eqz (local.get $bytes)))
  (i32.store8 (local.get $y) (i32.xor (i32.load8_u (local.get $x))
    (if (result i32) (local.get $w) (then (i32.load8_u (local.get $w))) (else (i32.const 0)))))
  (local.set $x (i32.add (local.get $x) (i32.const 1)))
  (local.set $y (i32.add (local.get $y) (i32.const 1)))
  (if (local.get $w) (then (local.set $w (i32.add (local.get $w) (i32.const 1)))))
  (local.set $bytes (i32.sub (local.get $bytes) (i32.const 1)))
  (br $next)))"""


def adder(dtype: str, dims: tuple[int, ...], batch: int, *, two: bool) -> bytes:
    """elementwise: y = x + w and, with `two`, z = w."""
    kind = DTYPES[dtype].wasm
    more = f" {kind}" if two else ""
    text = f"""(module (func (export "add") (param $x {kind}) (param $w {kind}) (result {kind}{more})
      ({kind}.add (local.get $x) (local.get $w)){"(local.get $w)" if two else ""}))"""
    tensors = {name: tensor(name, dtype, dims) for name in "xwyz"}
    return guests.wasm(
        text,
        {
            "entry": "add",
            "convention": "elementwise",
            "inputs": [tensors["x"], tensors["w"]],
            "outputs": [tensors["y"], tensors["z"]] if two else [tensors["y"]],
            "max_batch_size": batch,
        },
    )


def gufunc(dtype: str, dims: tuple[int, ...], batch: int, cores: int) -> bytes:
    """gufunc: y = x xor w over `cores` core dimensions; without any, z is the number 1, returned, too."""
    kind, names = DTYPES[dtype].wasm, "mn"[:cores]
    sizes = "".join(f" (param ${name} i32)" for name in names)
    returned = "" if cores else f"(result {kind})"
    bytes_ = f"(i32.const {DTYPES[dtype].itemsize})"
    for name in names:
        bytes_ = f"(i32.mul {bytes_} (local.get ${name}))"
    text = f"""(module (memory (export "memory") 1)
      (func (export "mix") (param $x i32) (param $w i32) (param $y i32){sizes} {returned} (local $bytes i32)
        (local.set $bytes {bytes_}) {XOR} {"" if cores else f"({kind}.const 1)"}))"""
    core = f"({','.join(names)})"
    tensors = {name: tensor(name, dtype, dims) for name in "xwyz"}
    return guests.wasm(
        text,
        {
            "entry": "mix",
            "convention": "gufunc",
            "signature": f"{core},{core}->{core}" + ("" if cores else ",()"),
            "inputs": [tensors["x"], tensors["w"]],
            "outputs": [tensors["y"]] if cores else [tensors["y"], tensors["z"]],
            "max_batch_size": batch,
        },
    )


def dlpack(dtype: str, dims: tuple[int, ...], batch: int) -> bytes:
    """A dlpack guest with y = x xor w (BYTES: w), or x without w.

    y shares the memory of x if its shape is unknown in advance.
    """
    given = "(i32.ge_s (i32.load offset=52 (local.get $in)) (i32.const 0))"
    if dtype == "BYTES":
        body = f"""(if {given} (then (local.set $in (i32.add (local.get $in) (i32.const 40)))))
          (i32.store offset=24 (local.get $out) (i32.load offset=24 (local.get $in))) {guests.ECHO_BODY}"""
    else:
        body = f"""(local $x i32) (local $w i32) (local $y i32) (local $bytes i32) (local $rank i32) (local $at i32)
          (local.set $x (i32.load (local.get $in)))
          (if {given} (then (local.set $w (i32.load offset=40 (local.get $in)))))
          (if (i32.lt_s (i32.load offset=12 (local.get $out)) (i32.const 0)) (then
            (i32.store (local.get $out) (local.get $x))
            (i32.store offset=12 (local.get $out) (i32.load offset=12 (local.get $in)))
            (i32.store offset=20 (local.get $out) (i32.load offset=20 (local.get $in)))))
          (local.set $y (i32.load (local.get $out)))
          (local.set $bytes (i32.const {DTYPES[dtype].itemsize}))
          {TIMES_DIMS}
          {XOR} (i32.const 0)"""
    inputs = [tensor("x", dtype, dims), tensor("w", dtype, dims, optional=True)]
    return guests.dlpack(body, inputs=inputs, outputs=[tensor("y", dtype, dims)], batch=batch)


def command(batch: int) -> bytes:
    """command: copies standard input, writes "!" to standard error, exits with the number of arguments."""
    described = {
        "convention": "command",
        "entry": "_start",
        "max_batch_size": batch,
        "inputs": [tensor("stdin", "BYTES", (1,)), tensor("args", "BYTES", (-1,), optional=True)],
        "outputs": [
            tensor("stdout", "BYTES", (1,)),
            tensor("stderr", "BYTES", (1,)),
            tensor("exit_code", "INT32", (1,)),
        ],
    }
    return guests.wasm(guests.CAT, described)
