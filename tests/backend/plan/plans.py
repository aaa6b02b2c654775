"""Modules of every convention, and their plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portalis.backend.interface.discovery import discover
from portalis.backend.limits import Limits
from portalis.backend.plan.planner import Isolation, Plan, plan_entry
from portalis.backend.setting_names import PYTHON_NAMES, SettingNames
from portalis.backend.wasm.binary import read_module
from tests.backend import guests, host_guests
from tests.backend.guests import tensor

KERNEL = {"convention": "gufunc", "inputs": [tensor("x")], "outputs": [tensor("y")], "signature": "(n)->(n)"}
SUMMED = {**KERNEL, "entry": "sum", "signature": "(n)->()", "outputs": [tensor("y", "BF16", ())]}
_BUMP = "(func $bump (result i32) (global.set $t (i32.add (global.get $t) (i32.const 4096))) (global.get $t))"
_ALLOCATORS = {
    "malloc": '(func (export "malloc") (param i32) (result i32) (call $bump)) (func (export "free") (param i32))',
    "cabi_realloc": '(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (call $bump))',
    "__new": """(func (export "__new") (param i32 i32) (result i32) (call $bump))
      (func (export "__pin") (param i32) (result i32) (local.get 0)) (func (export "__unpin") (param i32))""",
}
_GLOBALS = "(global $t (mut i32) (i32.const 4096)) " + " ".join(
    f"(global (mut {kind}) ({kind}.const 1))" for kind in ("i64", "f32", "f64")
)


def _double(more: str = "") -> str:
    return guests.DOUBLE[:-1] + more + ")"


MODULES: dict[str, bytes] = {
    "dlpack": guests.echo(batch=8),
    "dlpack that explains": guests.dlpack(
        guests.ECHO_BODY,
        inputs=[tensor("x", optional=True), tensor("n", "BYTES")],
        outputs=[tensor("y")],
        more='(func (export "portalis_error") (result i32) (i32.const 0))',
    ),
    "dlpack with a host": host_guests.model(guests.ECHO_BODY, "fd_write"),
    "elementwise, copied": guests.wasm(guests.ADD),
    "elementwise, called": guests.wasm(
        """(module (func $sum (param f32 f32) (result f32) (f32.add (local.get 0) (local.get 1)))
          (func (export "add") (param $a f32) (param $b f32) (result f32) (call $sum (local.get $a) (local.get $b))))"""
    ),
    "elementwise with a state": guests.wasm(
        """(module (memory (export "memory") 1) (global $n (mut f64) (f64.const 0))
          (func (export "f") (param $x f64) (result f64) (global.set $n (f64.add (global.get $n) (local.get $x)))
            (global.get $n)))"""
    ),
    "gufunc with pages": guests.wasm(guests.DOUBLE, {**KERNEL, "entry": "double"}),
    "gufunc that returns": guests.wasm(guests.SUM, SUMMED),
    **{
        f"gufunc with {name}": guests.wasm(_double(_GLOBALS + _BUMP + code), {**KERNEL, "entry": "double"})
        for name, code in _ALLOCATORS.items()
    },
    "gufunc that loops itself": guests.wasm(
        """(module (memory (export "memory") 1) (func (export "k") (param $b i64) (param f32) (param $y i32) (param $x i32)
          (param $n i64) (result i32) (i32.const 0)))""",
        {**KERNEL, "entry": "k", "args": ["batch", 2.5, "y", "x", "n"], "returns": "status"},
    ),
    "gufunc of i64 sizes": guests.wasm(
        guests.MATMUL,
        {
            **KERNEL,
            "entry": "matmul",
            "signature": "(m,n),(n,p)->(m,p)",
            "inputs": [tensor("a", "FP64", (-1, -1)), tensor("b", "FP64", (-1, -1))],
            "outputs": [tensor("c", "FP64", (-1, -1))],
        },
    ),
}


def made(
    wasm: bytes,
    isolation: str = "batch",
    *,
    interface: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    setting_names: SettingNames = PYTHON_NAMES,
) -> Plan:
    """The plan of a module."""
    info = read_module(wasm)
    return plan_entry(
        wasm, info, discover(info, interface, where="m"), Isolation(isolation), limits or Limits(), setting_names
    )
