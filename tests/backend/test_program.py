"""Program: loading, settings, requests that are joined and split, and errors that stay with their own request."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import wasmtime

from portalis.backend import (
    GuestTimeout,
    InputError,
    Interface,
    Limits,
    ModuleError,
    Program,
    SettingsError,
    Trap,
    WasmError,
)
from tests.backend import guests
from tests.backend.guests import tensor
from tests.backend.limits import in_time, not_late
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.usefixtures("executor")

F32 = np.float32
ADD = guests.wasm(guests.ADD)
# Traps where x[0] is 1 and loops forever where it is 2; else y = x.
MOODY = guests.dlpack(
    f"""(local $i i32) (local $p i32) (local $v f32)
    (local.set $p (i32.load (local.get $in)))
    (local.set $i (i32.wrap_i64 (i64.load (i32.load offset=20 (local.get $in)))))
    (block $done (loop $next (br_if $done (i32.eqz (local.get $i)))
      (local.set $v (f32.load (local.get $p)))
      (if (f32.eq (local.get $v) (f32.const 1)) (then unreachable))
      (if (f32.eq (local.get $v) (f32.const 2)) (then (loop $forever (br $forever))))
      (local.set $p (i32.add (local.get $p) (i32.const 8)))
      (local.set $i (i32.sub (local.get $i) (i32.const 1))) (br $next)))
    {guests.ECHO_BODY}""",
    inputs=[tensor("x", dims=(2,))],
    outputs=[tensor("y", dims=(2,))],
    batch=16,
)


def row(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array([[v, 7] for v in values], F32)}


@pytest.fixture(scope="module")
def moody() -> Program:
    return Program.load(MOODY, limits=Limits(timeout_s=PATIENCE_S))


def test_requests_are_joined_into_one_call_and_split_again(moody: Program) -> None:
    before = moody.stats.calls
    results = moody.run_batch([row(3), row(4, 5), row(6)])
    assert moody.stats.calls == before + 1
    assert [r["y"][:, 0].tolist() for r in results] == [[3], [4, 5], [6]]  # type: ignore[index]


def test_only_the_request_that_traps_fails(moody: Program) -> None:
    requests = [row(3), row(1), row(4), row(2), {"x": np.zeros((1, 3), F32)}, {}]

    def check(limit_s: float) -> None:
        results = moody.run_batch(requests, timeouts_s=[limit_s] * len(requests))
        assert [not_late(results[i])["y"][0, 0] for i in (0, 2)] == [3, 4]  # type: ignore[index]
        assert [type(not_late(results[1])), type(results[3])] == [Trap, GuestTimeout]
        assert [type(r) for r in results[4:]] == [InputError, InputError]

    in_time(check, 0.3)
    assert moody.run(row(9))["y"][0, 0] == 9


def test_no_guest_call_has_more_rows_than_the_maximum(moody: Program) -> None:
    before = moody.stats.calls
    results = moody.run_batch([row(*range(10, 20))] * 3)
    assert moody.stats.calls == before + 3
    assert all(r["y"].shape == (10, 2) for r in results)  # type: ignore[index]


def test_only_requests_of_equal_shapes_are_joined() -> None:
    program = Program.load(guests.echo(batch=16))
    requests = [{"x": np.full((1, size), i, F32)} for i, size in enumerate((3, 5, 3, 5))]
    results = program.run_batch(requests)
    assert program.stats.calls == 2
    for request, result in zip(requests, results):
        np.testing.assert_array_equal(result["y"], request["x"])  # type: ignore[index]


def test_isolation_request_never_joins() -> None:
    program = Program.load(MOODY, isolation="request")
    program.run_batch([row(3), row(4)])
    assert program.stats.calls == 2


def test_optional_inputs_are_joined_only_with_requests_that_have_them_too() -> None:
    module = guests.dlpack(
        guests.ECHO_BODY, inputs=[tensor("x"), tensor("o", optional=True)], outputs=[tensor("y")], batch=8
    )
    program, x = Program.load(module), np.ones((1, 2), F32)
    results = program.run_batch([{"x": x}, {"x": x, "o": x}, {"x": x, "o": None}, {"x": x, "o": x}])
    assert program.stats.calls == 2
    assert all(r["y"].tolist() == [[1, 1]] for r in results)  # type: ignore[index]


def test_elementwise_requests_are_joined_along_their_first_axis() -> None:
    program = Program.load(ADD)
    a, b = np.ones((2, 3), F32), np.ones((2, 1), F32)
    results = program.run_batch(
        [{"a": a, "b": b}, {"a": a * 2, "b": b}, {"a": np.float32(1), "b": a}, {"a": a, "b": b[:1]}]
    )
    assert program.stats.calls == 3
    assert [r["y"].max() for r in results] == [2, 3, 2, 2]  # type: ignore[index]
    assert [r["y"].shape for r in results] == [(2, 3)] * 4  # type: ignore[index]


def test_a_request_can_shorten_but_not_extend_its_time_limit() -> None:
    def check(limit_s: float) -> Program:
        program = Program.load(MOODY, limits=Limits(timeout_s=limit_s))
        results = program.run_batch([row(2), row(2), row(3)], timeouts_s=[0.05, 1000.0, None])
        assert not_late(results[2])["y"][0, 0] == 3  # type: ignore[index]
        assert "limit of 0.05 s" in str(results[0]) and f"limit of {limit_s:g} s" in str(results[1])
        return program

    program = in_time(check, 0.4)
    assert isinstance(program.run_batch([row(3)], timeouts_s=[-1.0])[0], InputError)


def test_borrowed_outputs_are_right_until_the_next_call() -> None:
    for isolation in ("batch", "instance"):
        program = Program.load(guests.echo(), isolation=isolation)
        for i in range(5):
            x = np.full(100, i, F32)
            (result,) = program.run_batch([{"x": x}], borrow=True)
            np.testing.assert_array_equal(result["y"], x)  # type: ignore[index]


def test_many_threads_may_use_one_program() -> None:
    program, failures = Program.load(guests.echo()), []

    def work(seed: int) -> None:
        for i in range(100):
            x = np.full(50, seed * 1000 + i, F32)
            if not np.array_equal(program.run({"x": x})["y"], x):
                failures.append((seed, i))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and program.stats.calls == 400


def test_errors_reach_the_thread_that_caused_them(moody: Program) -> None:
    wrong: list[object] = []

    def work(value: float, expected: type) -> None:
        for _ in range(60):
            try:
                outcome: object = moody.run(row(value))
            except WasmError as error:
                outcome = error
            if not isinstance(outcome, expected):
                wrong.append(outcome)

    threads = [threading.Thread(target=work, args=a) for a in ((3, dict), (1, Trap), (4, dict))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"a": np.zeros(2, np.float64), "b": np.zeros(2, F32)}, r"input 'a' has dtype float64, not float32 \(FP32\)"),
        ({"a": np.zeros(2, F32)}, "input 'b' is missing"),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, r"unknown input 'c' \(the inputs are 'a', 'b'\)"),
        ({"a": np.zeros((1,) * 9, F32), "b": 1.0}, "input 'a' has rank 9; at most 8"),
        ({"a": "text", "b": 1.0}, "input 'a' cannot be read as FP32"),
        ({"a": [[1, 2], [3]], "b": 1.0}, "input 'a' cannot be read as FP32"),
    ],
)
def test_bad_input_is_named(inputs: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Program.load(ADD).run(inputs)


def test_every_problem_of_a_request_is_reported_together() -> None:
    with pytest.raises(InputError, match="'a' has dtype.*'b' is missing.*unknown input 'z'"):
        Program.load(ADD).run({"a": np.zeros(1, np.int8), "z": 1})


def test_inputs_of_different_batch_sizes_are_named() -> None:
    module = guests.dlpack(guests.ECHO_BODY, inputs=[tensor("x"), tensor("w")], outputs=[tensor("y")], batch=8)
    with pytest.raises(InputError, match="different batch sizes: 'x' 1, 'w' 2"):
        Program.load(module).run({"x": np.zeros((1, 1), F32), "w": np.zeros((2, 1), F32)})


def test_bf16_given_as_float_is_explained() -> None:
    with pytest.raises(InputError, match="raw bits in a uint16 array"):
        Program.load(guests.echo("BF16")).run({"x": np.zeros(1, F32)})


def test_a_declared_interface_overrides_that_of_the_module() -> None:
    module = guests.wasm(guests.DOUBLE)
    declared = {
        "entry": "double",
        "convention": "gufunc",
        "signature": "(n)->(n)",
        "inputs": [tensor("in")],
        "outputs": [tensor("out")],
    }
    program = Program.load(module, interface=declared)
    assert program.run({"in": np.ones(3, F32)})["out"].tolist() == [2, 2, 2]
    assert isinstance(program.interface, Interface)
    again = Program.load(module, interface=program.interface)
    assert again.run({"in": np.ones(1, F32)})["out"].tolist() == [2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"isolation": "none"}, "isolation must be one of request, batch, instance, not 'none'"),
        ({"threads": 0}, "threads must be from 1 to 64, not 0"),
        ({"threads": 65}, "threads must be from 1 to 64, not 65"),
    ],
)
def test_bad_settings_are_rejected(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Program.load(ADD, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"timeout_s": 0}, "timeout_s must be greater than 0, not 0"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"max_memory_bytes": 5 << 30}, "at most 4 GiB"),
        ({"max_stack_bytes": 64 << 20, "max_module_bytes": -1}, "max_module_bytes.*at most 4 MiB"),
    ],
)
def test_bad_limits_are_rejected(limits: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Limits(**limits)  # type: ignore[arg-type]


def test_files_that_are_not_modules_are_rejected_by_name(tmp_path: Path) -> None:
    cases = {"empty": b"", "text": b"hello, I am not a module", "cut": ADD[:20], "elf": b"\x7fELF" + bytes(100)}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModuleError):
            Program.load(tmp_path / name)
    os.mkfifo(tmp_path / "fifo")
    for path, message in (
        ("missing", "cannot be read: No such file"),
        (".", "not a regular file"),
        ("fifo", "not a regular file"),
    ):
        with pytest.raises(ModuleError, match=message):
            Program.load(tmp_path / path)


def test_a_module_over_the_size_limit_is_rejected_before_it_is_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.wasm"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(
        ModuleError, match=r"has 1099511627776 bytes, more than the limit of 268435456 \(raise Limits.max_module_bytes"
    ):
        Program.load(huge)
    with pytest.raises(ModuleError, match="the module has"):
        Program.load(ADD, limits=Limits(max_module_bytes=10))


def test_a_path_and_bytes_give_the_same_program(tmp_path: Path) -> None:
    path = tmp_path / "add.wasm"
    path.write_bytes(ADD)
    for source in (path, str(path), ADD):
        with Program.load(source) as program:
            assert program.run({"a": 1.0, "b": 2.0})["y"] == 3


def alone_and_together(program: Program, requests: list[dict[str, np.ndarray]]) -> None:
    """Check that batched requests have the same results as individual requests, also if their shapes are known."""
    alone = [program.run(request)["y"] for request in requests]
    for _ in range(2):
        for one, result in zip(alone, program.run_batch(requests, borrow=True)):
            assert not isinstance(result, Exception)
            np.testing.assert_array_equal(result["y"], one)


def test_inputs_that_broadcast_are_not_joined_along_different_axes() -> None:
    batched = {"entry": "add", "convention": "elementwise", "max_batch_size": 8}
    batched |= {"inputs": [tensor("a"), tensor("b")], "outputs": [tensor("y")]}
    with Program.load(guests.wasm(guests.ADD, batched)) as program:
        a = np.arange(4, dtype=F32).reshape(1, 4)
        alone_and_together(program, [{"a": a, "b": np.full(1, b, F32)} for b in (100, 200, 300, 400)])


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 3)])
def test_core_dimensions_are_never_joined(shape: tuple[int, ...]) -> None:
    described = {"entry": "sum", "convention": "gufunc", "signature": "(n)->()", "max_batch_size": 8}
    described |= {"inputs": [tensor("x")], "outputs": [tensor("y", dims=())]}
    with Program.load(guests.wasm(guests.SUM, described)) as program:
        alone_and_together(program, [{"x": np.full(shape, v, F32)} for v in (1, 50, 7)])


def test_a_larger_core_dimension_does_not_enable_the_fast_path_for_smaller_ones() -> None:
    text = guests.DOUBLE.replace("(f32.const 2)", "(f32.convert_i32_u (local.get $n))")
    described = {"entry": "double", "convention": "gufunc", "signature": "(n)->(n)", "max_batch_size": 8}
    described |= {"inputs": [tensor("x")], "outputs": [tensor("y")]}
    with Program.load(guests.wasm(text, described)) as program:
        alone_and_together(program, [{"x": np.ones(6, F32)}])
        alone_and_together(program, [{"x": np.ones(3, F32)}, {"x": np.ones(3, F32)}])


def test_arrays_in_the_other_byte_order_are_accepted() -> None:
    with Program.load(guests.echo()) as program:
        x = np.array([1, 2.5], ">f4")
        assert program.run({"x": x})["y"].tolist() == [1, 2.5]


def test_a_reset_forgets_the_state_of_an_instance() -> None:
    text = """(module (global $sum (mut f32) (f32.const 0)) (func (export "total") (param $x f32) (result f32)
      (global.set $sum (f32.add (global.get $sum) (local.get $x))) (global.get $sum)))"""
    x = {"x": np.ones(1, np.float32)}
    with Program.load(bytes(wasmtime.wat2wasm(text)), isolation="instance") as program:
        assert [program.run(x)["y"].item() for _ in range(2)] == [1, 2]
        program.reset()
        assert program.run(x)["y"].item() == 1
