"""The rows of gufunc kernels that loop over the batch themselves: the inputs that are repeated follow each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.backend import guests
from tests.backend.cases import values
from tests.backend.cases.case import Call, Case
from tests.backend.guests import tensor

SHAPES = {
    "same": ((4, 3), (4, 3)),
    "one item": ((3,), (3,)),
    "second repeated": ((4, 3), (1, 3)),
    "second without loops": ((4, 3), (3,)),
    "first without loops": ((3,), (4, 3)),
    "each repeated": ((4, 1, 3), (1, 2, 3)),
    "repeated over more than one pass": ((250_000, 3), (3,)),
    "no items": ((0, 3), (3,)),
}
KERNEL = """(module (memory (export "memory") 1)
  (func (export "add") (param $count i32) (param $y i32) (param $n i64) (param $x i32) (param $w i32)
    (local.set $count (i32.mul (local.get $count) (i32.wrap_i64 (local.get $n))))
    (block $done (loop $next (br_if $done (i32.eqz (local.get $count)))
      (i32.store (local.get $y) (i32.add (i32.load (local.get $x)) (i32.load (local.get $w))))
      (local.set $x (i32.add (local.get $x) (i32.const 4)))
      (local.set $w (i32.add (local.get $w) (i32.const 4)))
      (local.set $y (i32.add (local.get $y) (i32.const 4)))
      (local.set $count (i32.sub (local.get $count) (i32.const 1))) (br $next)))))"""


def cases() -> Iterator[Case]:
    """All rows."""
    for name, shapes in SHAPES.items():
        rank = max(map(len, shapes))
        x, w = (values.numbers("INT32", shape, name + str(i)) for i, shape in enumerate(shapes))
        described = {
            "entry": "add",
            "convention": "gufunc",
            "signature": "(n),(n)->(n)",
            "args": ["batch", "y", "n", "x", "w"],
            "inputs": [tensor("x", "INT32", (-1,) * len(shapes[0])), tensor("w", "INT32", (-1,) * len(shapes[1]))],
            "outputs": [tensor("y", "INT32", (-1,) * rank)],
        }
        call = Call(({"x": x, "w": w},), ({"y": np.add(x, w)},))
        factors = {"convention": "gufunc", "shape": name}
        yield Case(f"own_loop-{name.replace(' ', '_')}", guests.wasm(KERNEL, described), (call, call), factors=factors)
