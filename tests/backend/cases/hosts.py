"""The rows of WASI: what each function answers to a guest, good and bad pointers, numbers and clocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.backend import guests
from tests.backend.cases.case import Call, Case
from tests.backend.guests import tensor

SUCCESS, BADF, FAULT, INVAL, IO = 0, 8, 21, 28, 29  # __wasi_errno_t
SIGNATURES = {
    "fd_write": "i32 i32 i32 i32",
    "fd_read": "i32 i32 i32 i32",
    "clock_time_get": "i32 i64 i32",
    "clock_res_get": "i32 i32",
    "random_get": "i32 i32",
    "poll_oneoff": "i32 i32 i32 i32",
    "environ_sizes_get": "i32 i32",
    "args_sizes_get": "i32 i32",
    "fd_close": "i32",
    "fd_prestat_get": "i32 i32",
    "fd_fdstat_get": "i32 i32",
    "sched_yield": "",
}
END = 65536
VECTORS = "(i32.store (i32.const 64) (i32.const 512)) (i32.store (i32.const 68) (i32.const 3))"
"""At 64: 3 bytes at 512, where "abc" is; then what is at 72."""
OUTSIDE = VECTORS + "(i32.store (i32.const 72) (i32.const 65530)) (i32.store (i32.const 76) (i32.const 100))"
SLEEP = "(i32.store8 (i32.const 136) (i32.const {kind})) (i32.store (i32.const 144) (i32.const {clock}))"
ABC = (("stdout", "abc"),)
CALLS: dict[str, tuple[str, tuple[int, ...], str, int, tuple[tuple[str, str], ...]]] = {
    "write": ("fd_write", (1, 64, 1, 8), VECTORS, SUCCESS, ABC),
    "write nothing": ("fd_write", (1, 64, 0, 8), VECTORS, SUCCESS, ()),
    "write to stdin": ("fd_write", (0, 64, 1, 8), VECTORS, BADF, ()),
    "write to a file": ("fd_write", (3, 64, 1, 8), VECTORS, BADF, ()),
    "write with a count outside": ("fd_write", (1, 64, 1, -2), VECTORS, FAULT, ABC),
    "write vectors outside": ("fd_write", (1, END - 4, 1, 8), VECTORS, FAULT, ()),
    "write a piece outside": ("fd_write", (1, 64, 2, 8), OUTSIDE, FAULT, ()),
    "write a thousand pieces": ("fd_write", (1, 32768, 1024, 8), "", SUCCESS, ()),
    "write more pieces": ("fd_write", (1, 32768, 1025, 8), "", SUCCESS, ()),
    "read": ("fd_read", (0, 64, 1, 8), VECTORS, SUCCESS, ()),
    "read from stdout": ("fd_read", (1, 64, 1, 8), VECTORS, BADF, ()),
    "read a piece outside": ("fd_read", (0, 64, 2, 8), OUTSIDE, FAULT, ()),
    "read vectors outside": ("fd_read", (0, -1, 1, 8), "", FAULT, ()),
    "read with a count outside": ("fd_read", (0, 64, 1, -2), VECTORS, FAULT, ()),
    "time of the CPU": ("clock_time_get", (2, 1, 8), "", BADF, ()),
    "time of no clock": ("clock_time_get", (4, 1, 8), "", INVAL, ()),
    "time to outside": ("clock_time_get", (0, 1, -4), "", FAULT, ()),
    "resolution": ("clock_res_get", (1, 8), "", SUCCESS, ()),
    "resolution of the CPU": ("clock_res_get", (3, 8), "", BADF, ()),
    "resolution to outside": ("clock_res_get", (1, -4), "", FAULT, ()),
    "random to outside": ("random_get", (END - 1, 2), "", FAULT, ()),
    "random to the end": ("random_get", (END - 2, 2), "", SUCCESS, ()),
    "no random bytes": ("random_get", (END, 0), "", SUCCESS, ()),
    "no subscriptions": ("poll_oneoff", (128, 256, 0, 8), "", INVAL, ()),
    "many subscriptions": ("poll_oneoff", (8192, 32768, 65, 8), "", INVAL, ()),
    "no sleep": ("poll_oneoff", (128, 256, 1, 8), SLEEP.format(kind=0, clock=1), SUCCESS, ()),
    "sleep by the CPU": ("poll_oneoff", (128, 256, 1, 8), SLEEP.format(kind=0, clock=2), INVAL, ()),
    "sleep of no kind": ("poll_oneoff", (128, 256, 1, 8), SLEEP.format(kind=3, clock=1), INVAL, ()),
    "ready to read": ("poll_oneoff", (128, 256, 1, 8), SLEEP.format(kind=1, clock=0), SUCCESS, ()),
    "events to outside": ("poll_oneoff", (128, END - 8, 1, 8), SLEEP.format(kind=0, clock=1), FAULT, ()),
    "number of events to outside": ("poll_oneoff", (128, 256, 1, -1), SLEEP.format(kind=0, clock=1), FAULT, ()),
    "environment": ("environ_sizes_get", (8, 12), "", SUCCESS, ()),
    "arguments": ("args_sizes_get", (8, 12), "", SUCCESS, ()),
    "close no file": ("fd_close", (9,), "", BADF, ()),
    "no folder": ("fd_prestat_get", (3, 8), "", BADF, ()),
    "yield": ("sched_yield", (), "", SUCCESS, ()),
}
"""Which function, its arguments, code before it, its answer, and what is written."""


def cases() -> Iterator[Case]:
    """All rows. y is the function's result and the value at address 8, which most functions write, as two numbers."""
    for name, (function, arguments, before, errno, lines) in CALLS.items():
        kinds = SIGNATURES[function].split()
        given = " ".join(f"({kind}.const {value})" for kind, value in zip(kinds, arguments, strict=True))
        imported = (
            f'(import "wasi_snapshot_preview1" "{function}" (func $f (param {SIGNATURES[function]}) (result i32)))'
        )
        text = f"""(module {imported} {guests.PRELUDE} (data (i32.const 512) "abc")
          (func (export "portalis_infer") (param $in i32) (param $nin i32) (param $out i32) (param $nout i32) (result i32)
            (i32.store (i32.const 8) (i32.const 77)) {before}
            (i32.store (i32.load (local.get $in)) (call $f {given}))
            (i32.store offset=4 (i32.load (local.get $in)) (i32.load (i32.const 8))) {guests.ECHO_BODY}))"""
        described: dict[str, object] = {"entry": "portalis_infer", "convention": "dlpack"}
        described |= {"inputs": [tensor("x", "INT32")], "outputs": [tensor("y", "INT32")]}
        written = WRITTEN.get(name, 77)
        call = Call(({"x": np.zeros(2, np.int32)},), ({"y": np.array([errno, written], np.int32)},))
        factors = {"convention": "dlpack", "function": function}
        yield Case(
            f"host-{name.replace(' ', '_')}", guests.wasm(text, described), (call,), lines=lines, factors=factors
        )


WRITTEN = {
    "write": 3,
    "write nothing": 0,
    "write a thousand pieces": 0,
    "write more pieces": 0,
    "read": 0,
    "resolution": 1,
    "no sleep": 1,
    "ready to read": 1,
    "environment": 0,
    "arguments": 0,
}
"""What lies at 8 afterwards, where it is not the 77 of before."""
