"""Guests that cause work for the host: they sleep, report wrong sizes, flood their outputs, or never end."""

from __future__ import annotations

from tests.backend import guests
from tests.backend.guests import tensor

SIGNATURES = {
    "clock_time_get": "(param i32 i64 i32) (result i32)",
    "clock_res_get": "(param i32 i32) (result i32)",
    "poll_oneoff": "(param i32 i32 i32 i32) (result i32)",
    "random_get": "(param i32 i32) (result i32)",
    "fd_write": "(param i32 i32 i32 i32) (result i32)",
    "proc_exit": "(param i32)",
}
REALTIME, MONOTONIC = 0, 1
IO = [tensor("x")], [tensor("y")]


def imports(*names: str) -> str:
    """The declarations of these functions of WASI, as ``$name``."""
    return "".join(f'(import "wasi_snapshot_preview1" "{name}" (func ${name} {SIGNATURES[name]}))' for name in names)


def program(body: str, *names: str, pages: int = 2, more: str = "") -> bytes:
    """A WASI program with these imports, whose ``_start`` has `body`."""
    text = f'(module {imports(*names)} (memory (export "memory") {pages}) {more} (func (export "_start") {body}))'
    return guests.wasm(text)


def subscribe(at: int, milliseconds: int, *, clock: int = MONOTONIC, absolute: bool = False, tag: int = 0) -> str:
    """Code that writes a clock subscription at `at`; an absolute one counts from the clock's present time. Needs the
    import clock_time_get and clobbers 8 bytes at 1016."""
    now = f"(drop (call $clock_time_get (i32.const {clock}) (i64.const 1) (i32.const 1016)))" if absolute else ""
    base = "(i64.load (i32.const 1016))" if absolute else "(i64.const 0)"
    return f"""{now} (i64.store (i32.const {at}) (i64.const {tag})) (i32.store (i32.const {at + 16}) (i32.const {clock}))
      (i64.store (i32.const {at + 24}) (i64.add {base} (i64.const {milliseconds * 1_000_000})))
      (i32.store16 (i32.const {at + 40}) (i32.const {int(absolute)}))"""


def sleep(milliseconds: int, *, clock: int = MONOTONIC, absolute: bool = False) -> str:
    """Code that sleeps. Needs the imports clock_time_get and poll_oneoff and clobbers memory from 1016 to 1300."""
    return f"""{subscribe(1024, milliseconds, clock=clock, absolute=absolute)}
      (drop (call $poll_oneoff (i32.const 1024) (i32.const 1152) (i32.const 1) (i32.const 1280)))"""


def sleeper(milliseconds: int, *, clock: int = MONOTONIC, absolute: bool = False) -> bytes:
    """A program that sleeps, then writes the nanoseconds that have passed by its own clock, 8 bytes."""
    return program(
        f"""(local $t i64)
        (drop (call $clock_time_get (i32.const {clock}) (i64.const 1) (i32.const 8)))
        (local.set $t (i64.load (i32.const 8)))
        {sleep(milliseconds, clock=clock, absolute=absolute)}
        (drop (call $clock_time_get (i32.const {clock}) (i64.const 1) (i32.const 8)))
        (i64.store (i32.const 8) (i64.sub (i64.load (i32.const 8)) (local.get $t)))
        (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 8))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))""",
        "clock_time_get",
        "poll_oneoff",
        "fd_write",
    )


def model(body: str, *names: str, more: str = "", batch: int = 0, **tensors: list[dict[str, object]]) -> bytes:
    """A dlpack guest with these functions of WASI."""
    text = f"""(module {imports(*names)} {guests.PRELUDE} {more}
      (func (export "portalis_infer") (param $in i32) (param $nin i32) (param $out i32) (param $nout i32) (result i32)
        {body}))"""
    entry: dict[str, object] = {"entry": "portalis_infer", "convention": "dlpack", "max_batch_size": batch}
    return guests.wasm(
        text, {**entry, "inputs": tensors.get("inputs", IO[0]), "outputs": tensors.get("outputs", IO[1])}
    )


def each_row(code: str, before: str = "") -> str:
    """`code` for each row of the first input, FP32 of one element a row; $p is the address of its element."""
    return f"""(local $i i32) (local $p i32) {before} (local.set $p (i32.load (local.get $in)))
      (local.set $i (i32.wrap_i64 (i64.load (i32.load offset=20 (local.get $in)))))
      (block $done (loop $next (br_if $done (i32.eqz (local.get $i))) {code}
        (local.set $p (i32.add (local.get $p) (i32.const 4)))
        (local.set $i (i32.sub (local.get $i) (i32.const 1))) (br $next)))"""


def moody(batch: int = 64) -> bytes:
    """An echo of rows of one FP32: a row of -1 traps, of -2 never ends, of -3 sleeps for 60 ms first."""
    code = f"""(if (f32.eq (f32.load (local.get $p)) (f32.const -1)) (then unreachable))
      (if (f32.eq (f32.load (local.get $p)) (f32.const -2)) (then (loop $forever (br $forever))))
      (if (f32.eq (f32.load (local.get $p)) (f32.const -3)) (then {sleep(60)}))"""
    return model(
        each_row(code) + guests.ECHO_BODY,
        "clock_time_get",
        "poll_oneoff",
        inputs=[tensor("x", dims=(1,))],
        outputs=[tensor("y", dims=(1,))],
        batch=batch,
    )


def lying_shape(first: int, second: int, *, dtype: str = "FP32", batch: int = 64) -> bytes:
    """An echo of rows of one FP32, as [rows, 1, 1]; where a row is -1 the shape is [rows, `first`, `second`]."""
    lie = f"""(if (f32.eq (f32.load (local.get $p)) (f32.const -1)) (then
      (i64.store (i32.const 72) (i64.const {first})) (i64.store (i32.const 80) (i64.const {second}))))"""
    body = f"""{each_row(lie, "(i64.store (i32.const 72) (i64.const 1)) (i64.store (i32.const 80) (i64.const 1))")}
      (i64.store (i32.const 64) (i64.load (i32.load offset=20 (local.get $in))))
      (i32.store (local.get $out) (i32.load (local.get $in)))
      (i32.store offset=12 (local.get $out) (i32.const 3)) (i32.store offset=20 (local.get $out) (i32.const 64))
      (i32.const 0)"""
    return guests.dlpack(
        body, inputs=[tensor("x", dims=(1,))], outputs=[tensor("y", dtype, dims=(-1, -1))], batch=batch
    )


def bytes_flood(mebibytes: int, element: bytes = b"") -> bytes:
    """A BYTES output of so many MiB of equal elements of up to 4 bytes, which cost the guest little or nothing; none
    where x[0] is 0."""
    size = 4 + len(element)
    count = (mebibytes << 20) // size
    word = int.from_bytes(element.ljust(4, b"\0"), "little")
    fill = f"""(loop $next (i32.store (local.get $q) (i32.const {len(element)}))
        (i32.store offset=4 (local.get $q) (i32.const {word})) (local.set $q (i32.add (local.get $q) (i32.const {size})))
        (local.set $i (i32.sub (local.get $i) (i32.const 1))) (br_if $next (local.get $i)))"""
    body = f"""(local $i i32) (local $q i32) (local.set $q (i32.const 65536)) (local.set $i (i32.const {count}))
      (drop (memory.grow (i32.const {16 * mebibytes + 1}))) {fill if element else ""}
      (i32.store (local.get $out) (i32.const 65536)) (i32.store offset=12 (local.get $out) (i32.const 1))
      (i64.store (i32.const 64) (select (i64.const {count * size}) (i64.const 0)
        (f32.ne (f32.load (i32.load (local.get $in))) (f32.const 0))))
      (i32.store offset=20 (local.get $out) (i32.const 64)) (i32.const 0)"""
    return guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y", "BYTES")])
