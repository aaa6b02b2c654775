"""A module with `_start` and a different entry: `_start` initializes each instance once, before the entry is called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portalis.backend import GuestError, GuestTimeout, InterfaceError, Limits, ModuleError, Program, Trap
from portalis.backend.interface.discovery import discover
from portalis.backend.wasm.binary import read_module
from tests.backend import guests

pytestmark = pytest.mark.usefixtures("executor")

ONE = {"x0": np.array([[1, 2]], np.float32)}
EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
SCALE = '(func (export "scale") (param f32) (result f32) (f32.mul (local.get 0) (global.get $g)))'


def program(start: str, more: str = "", *, name: str = "_start", **how: Any) -> Program:
    """A module whose entry multiplies by a global, initially 0, that its `start` sets."""
    text = f"""(module {more} (memory (export "memory") 1) (global $g (mut f32) (f32.const 0))
      (func (export "{name}") {start}) {SCALE})"""
    return Program.load(guests.wasm(text), interface={"entry": "scale"}, **how)


TEN = "(global.set $g (f32.const 10))"
# increments the global: a second run in one instance would change the result
COUNT = "(global.set $g (f32.add (global.get $g) (f32.const 10)))"


@pytest.mark.parametrize("isolation", ["request", "batch", "instance"])
@pytest.mark.parametrize("start", [TEN, COUNT])
@pytest.mark.parametrize("imports", ["", EXIT], ids=["rewound", "fresh"])
def test_start_runs_once_per_instance(isolation: str, start: str, imports: str) -> None:
    with program(start, imports, isolation=isolation) as scaled:
        for _ in range(3):
            assert scaled.run(ONE)["y"].tolist() == [[10, 20]]
        results = scaled.run_batch([ONE, {"x0": np.array([[3]], np.float32)}])
        assert [result["y"].tolist() for result in results] == [[[10, 20]], [[30]]]  # type: ignore[index]


@pytest.mark.parametrize("name", ["_initialize", "_start"])
def test_an_entry_named_like_an_initializer_is_not_run_as_one(name: str) -> None:
    """It is not run to initialize instances: raw calls of a type other than () -> () would write out of bounds."""
    many = 15
    text = f"""(module (func (export "{name}") (param f32) (result {"f32 " * many})
      {"(local.get 0)" * many}))"""
    outputs = [guests.tensor(f"y{i}") for i in range(many)]
    interface = {"entry": name, "convention": "elementwise", "inputs": [guests.tensor("x")], "outputs": outputs}
    with Program.load(guests.wasm(text), interface=interface) as echoing:
        assert [each.tolist() for each in echoing.run({"x": np.array([1, 2], np.float32)}).values()] == [[1, 2]] * many


def test_rewinding_restores_the_state_after_start() -> None:
    text = f"""(module (memory (export "memory") 1) (global $g (mut f32) (f32.const 1))
      (func (export "_start") {COUNT} (i32.store8 (i32.const 7) (i32.const 5)))
      (func (export "f") (param f32) (result f32)
        (global.set $g (f32.mul (global.get $g) (local.get 0)))
        (i32.store8 (i32.const 7) (i32.add (i32.load8_u (i32.const 7)) (i32.const 1)))
        (f32.add (global.get $g) (f32.convert_i32_u (i32.load8_u (i32.const 7))))))"""
    with Program.load(guests.wasm(text), interface={"entry": "f"}) as changed:
        for _ in range(3):
            assert changed.run({"x0": np.array([[2]], np.float32)})["y"].tolist() == [[2 * 11 + 6]]
        assert changed.stats.instances == 1  # rewound, not replaced


@pytest.mark.parametrize(
    ("convention", "text", "inputs", "expected"),
    [
        (
            {"convention": "gufunc", "signature": "(n)->(n)"},
            """(func (export "k") (param $x i32) (param $y i32) (param $n i32) (local $i i32)
              (loop $l (f32.store (i32.add (local.get $y) (i32.mul (local.get $i) (i32.const 4)))
                (f32.mul (global.get $g) (f32.load (i32.add (local.get $x) (i32.mul (local.get $i) (i32.const 4))))))
                (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))))""",
            {"x": np.array([1, 2], np.float32)},
            [10, 20],
        ),
        (
            {"convention": "elementwise"},
            '(func (export "k") (param f32) (result f32) (f32.mul (local.get 0) (global.get $g)))',
            {"x": np.array([1, 2], np.float32)},
            [10, 20],
        ),
    ],
)
def test_instances_of_every_convention_are_initialized(
    convention: dict[str, Any], text: str, inputs: Any, expected: list[float]
) -> None:
    module = f'(module (memory (export "memory") 1) (global $g (mut f32) (f32.const 0)) (func (export "_start") {TEN}) {text})'
    declared = {"entry": "k", **convention, "inputs": [guests.tensor("x")], "outputs": [guests.tensor("y")]}
    with Program.load(guests.wasm(module), interface=declared) as initialized:
        assert initialized.run(inputs)["y"].tolist() == expected


def test_a_dlpack_guest_is_initialized_before_its_allocator_is_called() -> None:
    start = '(global $ready (mut i32) (i32.const 0)) (func (export "_start") (global.set $ready (i32.const 1)))'
    echo = f"(if (i32.eqz (global.get $ready)) (then unreachable)) {guests.ECHO_BODY}"
    module = guests.dlpack(echo, inputs=[guests.tensor("x")], outputs=[guests.tensor("y")], more=start)
    with Program.load(module) as initialized:
        assert initialized.run({"x": np.array([1, 2], np.float32)})["y"].tolist() == [1, 2]


def test_leaving_by_proc_exit_0_is_success() -> None:
    for _ in range(2):
        with program(f"{TEN} (call $exit (i32.const 0)) unreachable", EXIT) as scaled:
            assert [scaled.run(ONE)["y"].tolist() for _ in range(3)] == [[[10, 20]]] * 3


def test_another_exit_code_is_an_error_that_names_it_and_the_next_program_is_served() -> None:
    with program("(call $exit (i32.const 3))", EXIT) as leaving:
        for _ in range(2):
            with pytest.raises(
                GuestError, match=r"entry 'scale': the module's '_start'.*: expected exit code 0, got 3"
            ):
                leaving.run(ONE)
    with program(TEN) as good:
        assert good.run(ONE)["y"].tolist() == [[10, 20]]


def test_an_initializer_that_exits_is_an_error() -> None:
    with (
        program("(call $exit (i32.const 0))", EXIT, name="_initialize") as leaving,
        pytest.raises(GuestError, match="the guest exited with code 0 instead of returning"),
    ):
        leaving.run(ONE)


def test_a_start_that_traps_or_loops_fails_the_request_within_its_time() -> None:
    with program("unreachable") as trapping, pytest.raises(Trap, match="unreachable"):
        trapping.run(ONE)
    with program("(loop $l (br $l))", limits=Limits(timeout_s=0.1)) as looping:
        for _ in range(2):
            with pytest.raises(GuestTimeout):
                looping.run(ONE)
    with program(TEN) as good:
        assert good.run(ONE)["y"].tolist() == [[10, 20]]


def test_the_output_of_start_is_forwarded() -> None:
    lines: list[tuple[str, str]] = []
    write = '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
    start = f"""(i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 3))
      (i32.store (i32.const 16) (i32.const 0x0a6968)) (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1)
      (i32.const 8))) {TEN}"""
    with program(start, write, on_output=lambda *line: lines.append(line)) as writing:
        assert writing.run(ONE)["y"].tolist() == [[10, 20]]
    assert lines == [("stdout", "hi")]


def test_a_module_that_is_a_command_and_a_reactor_is_rejected() -> None:
    both = f'(global $g (mut f32) (f32.const 0)) (func (export "_start")) (func (export "_initialize")) {SCALE}'
    for declared in ({"entry": "scale"}, {"convention": "command"}):
        with pytest.raises(
            ModuleError, match="exports '_initialize' and '_start', so it is neither a reactor nor a comm"
        ):
            Program.load(guests.wasm(f"(module {both})"), interface=declared)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ('(func (export "_start") (param i32))', r"not \(i32\) -> \(\)"),
        ('(func (export "_start") (result i64 i64 i64) unreachable)', r"not \(\) -> \(i64, i64, i64\)"),
        ('(global (export "_start") i32 (i32.const 0))', "not global"),
        ('(memory (export "_start") 1)', "not memory"),
    ],
)
def test_a_start_with_a_different_type_is_rejected(start: str, message: str) -> None:
    scale = '(func (export "scale") (param f32) (result f32) (local.get 0))'
    with pytest.raises(InterfaceError, match=rf"'_start' must be a function \(\) -> \(\), {message}"):
        Program.load(guests.wasm(f"(module {start} {scale})"), interface={"entry": "scale"})


def test_an_entry_named_start_is_not_an_initializer() -> None:
    text = '(module (func (export "_start") (param f32) (result f32) (f32.neg (local.get 0))))'
    declared = {"entry": "_start", "convention": "elementwise"}
    with Program.load(guests.wasm(text), interface=declared) as called:
        assert called.run(ONE)["y"].tolist() == [[-1, -2]]


def test_a_module_with_start_and_no_entry_is_a_command() -> None:
    text = '(module (memory (export "memory") 1) (func (export "_start")) (func (export "f")))'
    assert discover(read_module(guests.wasm(text)), where="m").convention.value == "command"
    with Program.load(guests.wasm(text)) as command:
        assert command.run({"stdin": np.array([[b""]], object)})["exit_code"].tolist() == [[0]]


def test_the_section_of_a_module_chooses_the_entry_next_to_start() -> None:
    entry = {
        "entry": "scale",
        "convention": "elementwise",
        "inputs": [guests.tensor("x")],
        "outputs": [guests.tensor("y")],
    }
    text = f'(module (global $g (mut f32) (f32.const 0)) (func (export "_start") {TEN}) {SCALE})'
    with Program.load(guests.wasm(text, entry)) as described:
        assert described.run({"x": np.array([1], np.float32)})["y"].tolist() == [10]
