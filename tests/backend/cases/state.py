"""The rows of isolation: guests that count their calls show how long an instance lives, wherever they keep the count and
whatever they begin with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.backend import guests, host_guests
from tests.backend.cases import good, pairwise
from tests.backend.cases.case import Call, Case
from tests.backend.cases.good import MAX_BATCH
from tests.backend.cases.pairwise import Row
from tests.backend.guests import tensor

KEPT = {
    "global": ("(global $n (mut i32) (i32.const 0))", "(global.get $n)", "(global.set $n {})"),
    "memory": ("", "(i32.load (i32.const 128))", "(i32.store (i32.const 128) {})"),
    "end of memory": ("", "(i32.load (i32.const 65532))", "(i32.store (i32.const 65532) {})"),
    "grown memory": (
        "",
        "(if (result i32) (i32.gt_u (memory.size) (i32.const 1)) (then (i32.load (i32.const 65536))) (else (i32.const 0)))",
        """(if (i32.eq (memory.size) (i32.const 1)) (then (drop (memory.grow (i32.const 1)))))
          (i32.store (i32.const 65536) {})""",
    ),
    "table": (
        "(table $t 8 funcref) (elem declare func $alone) (func $alone)",
        "(call $filled)",
        "(call $fill {})",
    ),
}
"""What declares the count, reads it, and sets it."""
TABLE = """(func $filled (result i32) (local $i i32) (block $b (loop $l
    (br_if $b (ref.is_null (table.get $t (local.get $i))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $l (i32.lt_u (local.get $i) (i32.const 8))))) (local.get $i))
  (func $fill (param $n i32) (local $i i32) (local.set $i (i32.const 0))
    (block $b (loop $l (br_if $b (i32.ge_u (local.get $i) (local.get $n)))
    (br_if $b (i32.ge_u (local.get $i) (i32.const 8)))
    (table.set $t (local.get $i) (ref.func $alone)) (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $l))))"""
BEGINS = {
    "from 0": ("", 0),
    "start function": ("(func $begin {}) (start $begin)", 3),
    "_initialize": ('(func (export "_initialize") {})', 3),
    "_start": ('(func (export "_start") {})', 3),
    "_start that exits": ('(func (export "_start") {} (call $proc_exit (i32.const 0)))', 3),
}
FACTORS = {
    "convention": ("elementwise", "gufunc", "dlpack"),
    "state": tuple(KEPT),
    "begin": tuple(BEGINS),
    "batching": ("none", "one", "joined", "passes"),
    "isolation": good.FACTORS["isolation"],
}
PASSES = 600_000  # elements of two passes


def valid(row: Row) -> bool:
    """Whether there can be such a row."""
    if row["state"] == "grown memory" and row["convention"] == "gufunc":  # which then needs an allocator
        return False
    if row["state"] == "table":  # which has eight places
        return row["batching"] != "passes" and (row["convention"] == "dlpack" or row["batching"] != "joined")
    return row["convention"] != "dlpack" or row["batching"] != "passes"


def cases() -> Iterator[Case]:
    """All rows."""
    for row in pairwise.rows(FACTORS, valid):
        name = "state-" + "-".join(row.values()).replace(" ", "_")
        yield Case(name, _module(row), _calls(row), row["isolation"], factors=row)


def _module(row: Row) -> bytes:
    declared, read, write = KEPT[row["state"]]
    begin, first = BEGINS[row["begin"]]
    imports = host_guests.imports("proc_exit") if "exits" in row["begin"] else ""
    more = declared + (TABLE if row["state"] == "table" else "") + begin.format(write.format(f"(i32.const {first})"))
    count = write.format(f"(i32.add {read} (i32.const 1))")
    described: dict[str, object] = {"entry": "count", "convention": row["convention"], "inputs": [tensor("x", "INT32")]}
    described |= {
        "outputs": [tensor("y", "INT32")],
        "max_batch_size": 0 if row["batching"] in ("none", "passes") else MAX_BATCH,
    }
    memory = '(memory (export "memory") 1)'
    if row["convention"] == "elementwise":
        body = f'(func (export "count") (param $x i32) (result i32) {count} {read})'
        return guests.wasm(f"(module {imports} {memory} {more} {body})", described)
    if row["convention"] == "gufunc":
        body = f'(func (export "count") (param $x i32) (param $y i32) {count} (i32.store (local.get $y) {read}))'
        return guests.wasm(f"(module {imports} {memory} {more} {body})", {**described, "signature": "()->()"})
    body = f"""(func (export "count") (param $in i32) (param $nin i32) (param $out i32) (param $nout i32) (result i32)
      {count} (i32.store (i32.load (local.get $in)) {read}) {guests.ECHO_BODY})"""
    return guests.wasm(f"(module {imports} {guests.PRELUDE} {more} {body})", described)


def _calls(row: Row) -> tuple[Call, ...]:
    first = count = BEGINS[row["begin"]][1]
    sizes = [(PASSES,)] if row["batching"] == "passes" else [(1,)] if row["batching"] == "none" else [(1, 1)]
    sizes = [(1, 1), (2, 1), (1, 1)] if row["batching"] == "joined" else sizes
    calls = []
    for _ in range(3):
        if row["isolation"] == "batch":
            count = first
        requests, answers = [], []
        for number, shape in enumerate(sizes):
            if row["isolation"] == "request":
                count = first
            x, n = np.zeros(shape, np.int32), int(np.prod(shape))
            if row["convention"] == "dlpack":
                count += row["isolation"] == "request" or number == 0  # one guest call for all of them
                y = x.copy()
                y.reshape(-1)[: 1 if number == 0 or row["isolation"] == "request" else 0] = count
            else:
                y = np.arange(count + 1, count + n + 1, dtype=np.int32).reshape(shape)
                count += n
            requests.append({"x": x})
            answers.append({"y": y})
        calls.append(Call(tuple(requests), tuple(answers)))
    return tuple(calls)
