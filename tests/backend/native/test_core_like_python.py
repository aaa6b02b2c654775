"""The core says and counts what the Python executor does: errors with their backtraces, statistics, a host without room."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import wasmtime

from portalis.backend import HostBusy, Limits, Program, WasmError
from portalis.backend.executor import executor_factory as loaded
from portalis.backend.executor import instance_limit as instances
from portalis.backend.wasm import assembler as emit
from tests.backend import guests
from tests.backend.guests import tensor
from tests.backend.native.cores import ENDLESS, F32, answer, core, settings
from tests.backend.native.cores import Instances as Made
from tests.backend.room import COUNTING
from tests.running.waiting import PATIENCE_S


@contextlib.contextmanager
def in_python() -> Iterator[None]:
    """Programs that are loaded here run without the core."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded, "native_core", lambda: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def _there_is_a_core() -> None:
    core()


def both(wasm: bytes, limits: Limits | None = None, **options: str) -> tuple[Program, Program]:
    """The program on the core, and in Python."""
    native = Program.load(wasm, limits=limits, **options)  # type: ignore[arg-type]
    with in_python():
        return native, Program.load(wasm, limits=limits, **options)  # type: ignore[arg-type]


def counted(program: Program) -> tuple[int, ...]:
    """All that is counted but time."""
    stats = program.stats
    return stats.calls, stats.traps, stats.timeouts, stats.instances, stats.memory_high_water_bytes


def message(program: Program, value: float = 1) -> str:
    (spec,) = program.interface.inputs[:1]
    x = np.full((1, 4) if program.interface.max_batch_size else 4, value, F32)
    try:
        program.run({each.name: x for each in program.interface.inputs})
    except WasmError as error:
        return f"{type(error).__name__}: {error}"
    return spec.name


# f(x) ends four functions deep as `code` says
DEEP = """(module {more} (memory (export "memory") 1) (table 1 funcref) (type $none (func))
  (func $end {code}) (func $c (call $end)) (func $b (call $c)) (func $a (call $b))
  (func (export "f") (param $x f32) (result f32) (call $a) (local.get $x)))"""
EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
ENDS = {
    "unreachable": ("unreachable", ""),
    "no time": ("(loop $l (br $l))", ""),
    "no stack": ("(call $end)", ""),
    "out of bounds": ("(drop (i32.load (i32.const -1)))", ""),
    "division": ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", ""),
    "overflow": ("(drop (i32.div_s (i32.const -2147483648) (i32.const -1)))", ""),
    "conversion": ("(drop (i32.trunc_f32_s (f32.const nan)))", ""),
    "no element": ("(call_indirect (type $none) (i32.const 0))", ""),
    "no such element": ("(call_indirect (type $none) (i32.const 7))", ""),
    "exit": ("(call $exit (i32.const 3))", EXIT),
}
NAMES: Mapping[str, Callable[[bytes], bytes]] = {
    "names of its own": lambda wasm: wasm,
    "no names": guests.without_names,
    "other names": lambda wasm: guests.named(
        wasm, {0: "end", 2: guests.cxx_bomb(), 3: "_ZN4core3fmt5writeE", 4: "b\x1b[2K"}
    ),
    "a cut name section": lambda wasm: (
        guests.without_names(wasm) + emit.section(0, emit.name("name") + b"\x01\x20\x05\x00\x03end\x02")
    ),
    "names out of order": lambda wasm: (
        guests.without_names(wasm) + emit.section(0, emit.name("name") + b"\x01\x0a\x03\x02\x01b\x00\x01a\x01\x01c")
    ),
}


@pytest.mark.parametrize(
    ("end", "names"),
    [*((end, "names of its own") for end in ENDS), *(("unreachable", names) for names in list(NAMES)[1:])],
)
def test_errors_and_backtraces_are_those_of_the_python_executor(end: str, names: str) -> None:
    code, more = ENDS[end]
    wasm = NAMES[names](bytes(wasmtime.wat2wasm(DEEP.format(code=code, more=more))))
    native, python = both(wasm, Limits(timeout_s=0.3 if end == "no time" else PATIENCE_S))
    with native, python:
        found = message(native)
        assert found == message(python)
        assert ": " in found
        assert ("wasm backtrace:" in found) == (end != "exit")


@pytest.mark.parametrize("number", [0, 2000, 2999])
def test_of_more_names_than_fit_a_plan_both_know_the_same(number: int) -> None:
    functions = "".join(f"(func {'unreachable' if n == number else ''})" for n in range(3000))
    text = f"""(module {functions} (func (export "f") (param $x f32) (result f32) (call {number}) (local.get $x)))"""
    wasm = guests.named(bytes(wasmtime.wat2wasm(text)), {n: f"n{n:05}" + "n" * 100 for n in range(3001)})
    native, python = both(wasm)
    with native, python:
        found = message(native)
        assert found == message(python)
        assert (f"n{number:05}nnn" in found) == (number < 2500)


@pytest.mark.parametrize("text", ["(start $end)", '(func (export "_initialize") (call $end))'])
def test_an_instance_that_cannot_start_is_reported_alike(text: str) -> None:
    for code in ("unreachable", "(loop $l (br $l))", "(call $end)"):
        wasm = bytes(wasmtime.wat2wasm(DEEP.format(code=code, more="")[:-1] + text + ")"))
        native, python = both(wasm, Limits(timeout_s=0.3 if "loop" in code else PATIENCE_S))
        with native, python:
            assert message(native) == message(python) != "x"
            assert counted(native) == counted(python)
            assert core().stats(native._runner._program).calls == 1  # type: ignore[attr-defined]


GROWING = guests.dlpack(
    """(drop (memory.grow (i32.trunc_f32_u (f32.load (i32.load (local.get $in))))))
    (if (f32.eq (f32.load (i32.load (local.get $in))) (f32.const 7)) (then unreachable))"""
    + guests.ECHO_BODY,
    inputs=[tensor("x")],
    outputs=[tensor("y")],
    batch=8,
)


@pytest.mark.parametrize("isolation", ["request", "batch", "instance"])
@pytest.mark.parametrize("wasm", [COUNTING, GROWING, ENDLESS], ids=["counting", "growing", "endless"])
def test_statistics_are_those_of_the_python_executor(wasm: bytes, isolation: str) -> None:
    limits = Limits(timeout_s=0.03 if wasm is ENDLESS else PATIENCE_S, max_memory_bytes=4 << 20)
    native, python = both(wasm, limits, isolation=isolation)
    with native, python:
        for value in (1, 2, 7, 3, 40, 0, 7, 1):
            # where the guest was by then depends on the machine, for one that has 30 ms
            first, second = (message(program, value).partition("\n")[0] for program in (native, python))
            assert first == second
            x = {"x": np.full((2, 3), value, np.float64)}
            assert [type(p.run_batch([x])[0]).__name__ for p in (native, python)] == ["InputError"] * 2
            assert counted(native) == counted(python)
            own = core().stats(native._runner._program)  # type: ignore[attr-defined]
            assert (own.calls, own.traps, own.timeouts) == counted(native)[:3]


def test_a_process_with_the_maximum_of_instances_reports_it_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    native, python = both(guests.echo(batch=8))
    with native, python:
        Made()
        count = core().instances()
        monkeypatch.setattr(instances, "live_stores", lambda: count)
        monkeypatch.setattr(instances, "MAX_INSTANCES", count)
        monkeypatch.setattr(instances, "WAIT_S", 0.0)
        with settings(instances=count, wait_s=0):
            found = message(native)
            assert found == message(python)
            assert f"cannot create another instance: this process has {count} (the maximum is {count})" in found
        assert answer(native) == [1] * 4
        assert native.stats.calls == 2


def test_idle_instances_are_evicted_at_the_maximum() -> None:
    Made()
    with Program.load(guests.echo(batch=8)) as program, Program.load(guests.echo(batch=8)) as other:
        for turn in range(20):
            assert answer(other) == [1] * 4
            with settings(instances=core().instances(), wait_s=PATIENCE_S):
                assert answer(program, turn) == [turn] * 4
        assert other.stats.instances == program.stats.instances == 20


def test_a_call_waits_for_capacity_that_comes_in_time_and_not_past_its_own() -> None:
    Made()
    with Program.load(guests.echo(batch=8)) as program, Program.load(guests.echo(batch=8)) as other:
        (result,) = other.run_batch([{"x": np.ones((1, 4), F32)}], borrow=True)
        other.close()
        with settings(instances=core().instances(), wait_s=PATIENCE_S), ThreadPoolExecutor(1) as threads:
            with pytest.raises(HostBusy, match="cannot create another instance"):
                program.run({"x": np.ones((1, 4), F32)}, timeout_s=0.1)
            waiting = threads.submit(answer, program)
            time.sleep(0.1)
            assert not waiting.done()
            del result  # its memory is the last instance
            assert waiting.result() == [1] * 4
