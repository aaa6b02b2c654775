"""Guests that loop, trap, overflow, flood or grow: each is an error of its own call, in time, without leaks."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest
import wasmtime

from portalis.backend import GuestError, GuestTimeout, InterfaceError, Limits, ModuleError, Program, Trap, WasmError
from portalis.backend.wasm import assembler as emit
from tests.backend import guests, stores
from tests.backend.guests import tensor
from tests.backend.limits import in_time
from tests.running.memory import resident_bytes
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.usefixtures("executor")

ISOLATIONS = ["request", "batch", "instance"]
ONE = {"x": np.ones(1, np.float32)}
ZERO = {"x": np.zeros(1, np.float32)}


def when_asked(code: str, more: str = "") -> bytes:
    """A guest that runs `code` if x[0] is not 0, and returns its input otherwise."""
    body = f"(if (f32.ne (f32.load (i32.load (local.get $in))) (f32.const 0)) (then {code})) {guests.ECHO_BODY}"
    return guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y")], more=more)


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_loop_ends_within_its_deadline_and_the_next_call_succeeds(isolation: str) -> None:
    module = when_asked("(loop $l (br $l))")

    def check(limit_s: float) -> None:
        program = Program.load(module, limits=Limits(timeout_s=limit_s), isolation=isolation)
        program.run(ZERO)
        began = time.monotonic()
        with pytest.raises(
            GuestTimeout, match=rf"longer than its time limit of {limit_s:g} s .*raise Limits.timeout_s"
        ):
            program.run(ONE)
        assert limit_s - 0.05 < time.monotonic() - began < PATIENCE_S
        assert program.run(ZERO)["y"].tolist() == [0]
        assert program.stats.timeouts == 1

    in_time(check, 0.3)


def test_a_loop_of_a_recursion_is_interrupted_too() -> None:
    more = "(func $a (call $b)) (func $b (loop $l (br_if $l (i32.const 1))))"
    with pytest.raises(GuestTimeout):
        Program.load(when_asked("(call $a)", more), limits=Limits(timeout_s=0.1)).run(ONE)


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("unreachable", "unreachable"),
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "integer divide by zero"),
        ("(drop (i32.load (i32.const -4)))", "out of bounds memory access"),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "invalid conversion to integer"),
    ],
)
def test_a_trap_has_its_reason_and_backtrace(code: str, message: str, isolation: str) -> None:
    program = Program.load(when_asked(code), isolation=isolation)
    with pytest.raises(Trap, match=f"(?s){message}.*wasm backtrace:.*portalis_infer"):
        program.run(ONE)
    assert program.run(ZERO)["y"].tolist() == [0]


def test_a_stack_overflow_is_a_trap() -> None:
    program = Program.load(when_asked("(call $down)", "(func $down (call $down))"))
    with pytest.raises(Trap, match="call stack exhausted"):
        program.run(ONE)
    assert program.run(ZERO)["y"].tolist() == [0]


def test_endless_growth_stops_at_the_limit() -> None:
    code = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))"
    program = Program.load(when_asked(code), limits=Limits(max_memory_bytes=8 << 20))
    program.run(ONE)
    assert 7 << 20 <= program.stats.memory_high_water_bytes <= 8 << 20


def test_a_module_that_starts_larger_than_the_limit_says_which_setting_to_raise() -> None:
    text = guests.PRELUDE.replace('"memory") 1)', '"memory") 1000)')
    module = guests.wasm(
        f'(module {text} (func (export "portalis_infer") (param i32 i32 i32 i32) (result i32) (i32.const 0)))',
        {
            "entry": "portalis_infer",
            "convention": "dlpack",
            "inputs": [tensor("x")],
            "outputs": [tensor("y", dims=(1,))],
        },
    )
    with pytest.raises(ModuleError, match="65536000 bytes.*1048576 bytes: raise Limits.max_memory_bytes to 65536000"):
        Program.load(module, limits=Limits(max_memory_bytes=1 << 20))


def test_a_start_function_that_loops_is_a_timeout() -> None:
    text = f"(module {guests.PRELUDE} (func $s (loop $l (br $l))) (start $s)"
    module = guests.wasm(
        text + '(func (export "portalis_infer") (param i32 i32 i32 i32) (result i32) (i32.const 0)))',
        {
            "entry": "portalis_infer",
            "convention": "dlpack",
            "inputs": [tensor("x")],
            "outputs": [tensor("y", dims=(1,))],
        },
    )
    program = Program.load(module, limits=Limits(timeout_s=0.2))
    with pytest.raises(GuestTimeout):
        program.run(ONE)


def test_a_reactors_initializer_runs_before_its_entry() -> None:
    text = """(module (memory (export "memory") 1) (global $k (mut f32) (f32.const 0))
      (func (export "_initialize") (global.set $k (f32.const 5)))
      (func (export "f") (param $x f32) (result f32) (f32.mul (local.get $x) (global.get $k))))"""
    assert Program.load(guests.wasm(text)).run({"x": np.float32(2)})["y"] == 10


FLOOD = """(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))"""


def flooding(times: int) -> bytes:
    body = f"""(local $i i32) (local.set $i (i32.const {times}))
      (i32.store (i32.const 16) (i32.const 512)) (i32.store (i32.const 20) (i32.const 8))
      (block $done (loop $next (br_if $done (i32.eqz (local.get $i)))
        (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
        (local.set $i (i32.sub (local.get $i) (i32.const 1))) (br $next)))
      {guests.ECHO_BODY}"""
    text = f"""(module {FLOOD} {guests.PRELUDE} (data (i32.const 512) "line é\\n")
      (func $portalis_infer (export "portalis_infer") (param $in i32) (param $nin i32) (param $out i32) (param $nout i32) (result i32) {body}))"""
    entry = {"entry": "portalis_infer", "convention": "dlpack", "inputs": [tensor("x")], "outputs": [tensor("y")]}
    return guests.wasm(text, entry)


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_output_is_forwarded_line_by_line(isolation: str) -> None:
    seen: list[tuple[str, str]] = []
    program = Program.load(flooding(3), on_output=lambda stream, line: seen.append((stream, line)), isolation=isolation)
    program.run(ONE)
    program.run(ONE)
    assert seen == [("stdout", "line é")] * 6


def test_excessive_output_is_truncated_and_counted() -> None:
    seen: list[str] = []
    program = Program.load(
        flooding(20_000), on_output=lambda _, line: seen.append(line), limits=Limits(max_output_bytes=800)
    )
    assert program.run(ONE)["y"].tolist() == [1]
    assert len(seen) == 101 and seen[-1] == "... 159200 more bytes were dropped (Limits.max_output_bytes is 800)"


def test_output_is_discarded_without_a_listener() -> None:
    assert Program.load(flooding(3)).run(ONE)["y"].tolist() == [1]


def test_all_missing_imports_are_listed() -> None:
    text = """(module (import "env" "gpu_matmul" (func)) (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
      (import "js" "mem" (memory 1)) (func (export "f") (param f32) (result f32) (local.get 0)))"""
    declared = {"entry": "f", "convention": "elementwise"}
    with pytest.raises(ModuleError, match=r"env\.gpu_matmul, js\.mem\. The host provides only"):
        Program.load(guests.wasm(text), interface=declared)


def test_an_import_of_the_wrong_type_is_rejected() -> None:
    text = """(module (import "wasi_snapshot_preview1" "fd_write" (func (param i64)))
      (func (export "f") (param f32) (result f32) (local.get 0)))"""
    with pytest.raises(
        ModuleError, match=r"fd_write as \(i64\) -> \(\); the host's is \(i32, i32, i32, i32\) -> \(i32\)"
    ):
        Program.load(guests.wasm(text))


def test_a_module_with_threads_is_rejected() -> None:
    text = '(module (memory (export "memory") 1 2 shared) (func (export "f") (param f32) (result f32) (local.get 0)))'
    with pytest.raises(WasmError, match="thread|shared"):
        Program.load(guests.wasm(text))


def test_the_text_of_an_assemblyscript_abort_is_in_the_error() -> None:
    text = f"""(module (import "env" "abort" (func $abort (param i32 i32 i32 i32))) {guests.PRELUDE}
      (data (i32.const 508) "\\0a\\00\\00\\00b\\00a\\00d\\00!\\00!\\00")
      (func (export "portalis_infer") (param i32 i32 i32 i32) (result i32)
        (call $abort (i32.const 512) (i32.const 0) (i32.const 12) (i32.const 3)) unreachable))"""
    entry = {"entry": "portalis_infer", "convention": "dlpack", "inputs": [tensor("x")], "outputs": [tensor("y")]}
    with pytest.raises(Trap, match=r"bad!! at .*:12:3"):
        Program.load(guests.wasm(text, entry)).run(ONE)


def test_an_abort_with_bad_pointers_is_still_a_trap() -> None:
    text = f"""(module (import "env" "abort" (func $abort (param i32 i32 i32 i32))) {guests.PRELUDE}
      (func (export "portalis_infer") (param i32 i32 i32 i32) (result i32)
        (call $abort (i32.const -1) (i32.const -9) (i32.const 12) (i32.const 3)) unreachable))"""
    entry = {"entry": "portalis_infer", "convention": "dlpack", "inputs": [tensor("x")], "outputs": [tensor("y")]}
    with pytest.raises(Trap, match="abort"):
        Program.load(guests.wasm(text, entry)).run(ONE)


def test_leaving_by_proc_exit_is_an_error_of_a_model() -> None:
    text = f"""(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) {guests.PRELUDE}
      (func (export "portalis_infer") (param i32 i32 i32 i32) (result i32) (call $exit (i32.const 3)) (i32.const 0)))"""
    entry = {"entry": "portalis_infer", "convention": "dlpack", "inputs": [tensor("x")], "outputs": [tensor("y")]}
    program = Program.load(guests.wasm(text, entry))
    with pytest.raises(GuestError, match="exited with code 3"):
        program.run(ONE)


def test_thousands_of_calls_leave_memory_threads_and_instances_constant(executor: str) -> None:
    new = stores.new(executor)
    many = 10_000 if executor == "core" else 2_000  # if creating an instance takes a millisecond
    moods = when_asked("unreachable")
    programs = [Program.load(moods, isolation=i) for i in ISOLATIONS] + [Program.load(flooding(1))]
    wrong = {"x": np.zeros((1, 1), np.float32)}

    def run(count: int) -> None:
        for i in range(count):
            program = programs[i % len(programs)]
            try:
                program.run((ZERO, ONE, wrong, ZERO)[i // 4 % 4])
            except WasmError:
                continue

    run(many // 5)
    gc.collect()
    before, threads, kept = resident_bytes(), threading.active_count(), len(new)
    run(many)
    gc.collect()
    assert resident_bytes() - before < 8 << 20
    assert threading.active_count() <= threads  # a thread of an earlier test can have ended
    new.go_down_to(kept + 2)


DOUBLE_NEEDS_ROOM = guests.DOUBLE.rstrip()[:-1] + '(func (export "malloc") (param i32) (result i32) (i32.const 1024))'


@pytest.mark.parametrize(
    "companion",
    [
        '(func (export "free") (param i64 i64 i64 i64 i64 i64))',
        '(func (export "free") (param i32) (result i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) unreachable)',
        '(global (export "free") i32 (i32.const 0))',
    ],
)
def test_an_allocator_with_a_free_of_another_type_is_not_called(companion: str) -> None:
    described = {
        "entry": "double",
        "convention": "gufunc",
        "signature": "(n)->(n)",
        "inputs": [tensor("x")],
        "outputs": [tensor("y")],
    }
    with Program.load(guests.wasm(DOUBLE_NEEDS_ROOM + companion + ")", described), isolation="instance") as program:
        for size in (10, 100_000, 10):
            x = np.arange(size, dtype=np.float32)
            np.testing.assert_array_equal(program.run({"x": x})["y"], 2 * x)


@pytest.mark.parametrize(
    ("initialize", "message"),
    [
        ('(func (export "_initialize") (result i64 i64 i64 i64 i64 i64) unreachable)', r"not \(\) -> \(i64, i64"),
        ('(func (export "_initialize") (param i32))', r"not \(i32\) -> \(\)"),
        ('(global (export "_initialize") i32 (i32.const 0))', "not global"),
    ],
)
def test_an_initialize_of_another_type_is_rejected(initialize: str, message: str) -> None:
    with pytest.raises(InterfaceError, match=r"'_initialize' must be a function \(\) -> \(\), " + message):
        Program.load(guests.wasm(guests.ADD.rstrip()[:-1] + initialize + ")"))


def test_an_interface_built_by_the_caller_is_checked_against_the_module() -> None:
    interface = Program.load(guests.wasm(guests.ADD)).interface
    odd = '(func (export "_initialize") (result i64 i64 i64 i64 i64 i64) unreachable)'
    with pytest.raises(InterfaceError, match=r"'_initialize' must be a function \(\) -> \(\)"):
        Program.load(guests.wasm(guests.ADD.rstrip()[:-1] + odd + ")"), interface=interface)


@pytest.mark.parametrize(
    "section",
    [
        '{"abi": ' + "9" * 5000 + "}",
        "[" * 100_000,
        '{"entry": "double", "convention": "gufunc", "signature": "' + "()   " * 40 + '!->()"}',
        '{"entry": "double", "convention": "gufunc", "signature": "(' + "9" * 5000 + ')->()"}',
        '{"entry": "double", "convention": "gufunc", "signature": "(\u00b2)->(n)"}',
    ],
)
def test_a_hostile_section_is_an_error_within_bounded_time(section: str) -> None:
    payload = b"\x08portalis" + section.encode()
    module = bytes(wasmtime.wat2wasm(guests.DOUBLE)) + emit.section(0, payload)
    with pytest.raises(WasmError):
        Program.load(module)
