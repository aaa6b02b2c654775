"""Stateful modules: a sum that a sequence starts."""

from __future__ import annotations

from typing import Any

from tests.backend import guests
from tests.backend.guests import tensor

# y is the sum of x since START, the sequence's id, START, END and READY; -1 traps after it was added, 9999 never ends
SUM = """
  (if (i32.load (i32.load offset=40 (local.get $in))) (then (global.set $sum (f32.const 0))))
  (global.set $sum (f32.add (global.get $sum) (f32.load (i32.load (local.get $in)))))
  (if (f32.eq (f32.load (i32.load (local.get $in))) (f32.const -1)) (then unreachable))
  (if (f32.eq (f32.load (i32.load (local.get $in))) (f32.const 9999)) (then (loop br 0)))
  (f32.store (i32.load (local.get $out)) (global.get $sum))
  (f32.store offset=4 (i32.load (local.get $out)) (f32.convert_i64_u (i64.load (i32.load offset=160 (local.get $in)))))
  (f32.store offset=8 (i32.load (local.get $out)) (f32.convert_i32_u (i32.load (i32.load offset=40 (local.get $in)))))
  (f32.store offset=12 (i32.load (local.get $out)) (f32.convert_i32_u (i32.load8_u (i32.load offset=80 (local.get $in)))))
  (f32.store offset=16 (i32.load (local.get $out)) (f32.load (i32.load offset=120 (local.get $in))))
  (i32.const 0)"""


def sum_module(batch: int = 0) -> bytes:
    """A module with all control inputs, for at most `batch` rows."""
    return guests.dlpack(
        SUM,
        inputs=[
            tensor("x", dims=(1,)),
            tensor("START", "INT32", (1,)),
            tensor("END", "BOOL", (1,)),
            tensor("READY", "FP32", (1,)),
            tensor("ID", "UINT64", (1,)),
        ],
        outputs=[tensor("y", dims=(5,))],
        more="(global $sum (mut f32) (f32.const 0))",
        batch=batch,
    )


def sequences(**changes: Any) -> dict[str, Any]:
    """``sequence_batching`` of `sum_module`."""
    controls = [
        {"name": "START", "control_type": "Start"},
        {"name": "END", "control_type": "End", "data_type": "BOOL"},
        {"name": "READY", "control_type": "Ready", "data_type": "FP32"},
        {"name": "ID", "control_type": "CorrelationId"},
    ]
    return {"control_inputs": controls, "max_sequence_idle_microseconds": 60_000_000, **changes}
