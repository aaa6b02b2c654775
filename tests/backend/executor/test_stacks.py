"""A guest has the stack of its limit on threads with any stack size; every limit is enforced by the real engine."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from typing import Any

import pytest

from portalis.backend import Limits, SettingsError
from portalis.backend.executor.stacks import run_on_larger_stack, thread_stack_bytes
from portalis.backend.limits import MAX_LIMITS, MIB
from portalis.backend.triton import model_parameters as wasm_settings
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.usefixtures("executor")

FIELDS = [field.name for field in dataclasses.fields(Limits)]
_SECONDS = {"timeout_s": "timeout_ms", "compile_timeout_s": "compile_timeout_ms"}
# f(1) recurses without end, f(x) = x
GUEST = """
import sys, threading, wasmtime, numpy as np
from portalis.backend import Limits, Program, WasmError
WASM = bytes(wasmtime.wat2wasm('''(module (memory (export "memory") 1)
  (func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))
  (func (export "f") (param $x f32) (result f32)
    (if (f32.eq (local.get $x) (f32.const 1)) (then (drop (call $deep (i32.const 1))))) (local.get $x)))'''))
"""


def child(code: str, *arguments: str, stack: str = "") -> str:
    """The output of a process that runs `code` with the stack limit `stack` (KiB, as in ``ulimit -s``)."""
    command = [sys.executable, "-c", GUEST + code, *arguments]
    if stack:
        command = ["bash", "-c", f'ulimit -s {stack} && exec "$@"', "bash", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-500:]}"
    return done.stdout


@pytest.mark.parametrize("stack", ["1024", "512", "unlimited"])
def test_recursion_is_a_trap_on_threads_with_any_stack_size(stack: str) -> None:
    message = child(
        """
def go(program):
    for value in (1, 0):  # so many elements that all the program's threads have some
        try: print(program.run({"x": np.full(300_000, value, np.float32)})["y"].max())
        except Exception as error: print(type(error).__name__, "call stack exhausted" in str(error))
for size in (1 << 20, 4 << 20):
    for threads in (1, 2):
        interface = {"outputs": [{"name": "y", "dtype": "FP32", "dims": [-1]}]}
        program = Program.load(WASM, interface=interface, limits=Limits(max_stack_bytes=size), threads=threads)
        go(program)
        thread = threading.Thread(target=go, args=(program,)); thread.start(); thread.join()
        threading.stack_size(256 << 10)
        thread = threading.Thread(target=go, args=(program,)); thread.start(); thread.join()
        threading.stack_size(0)
""",
        stack=stack,
    )
    assert message.splitlines() == ["Trap True", "0.0"] * 12


def test_a_start_function_has_the_same_stack_limit() -> None:
    message = child(
        """
wasm = bytes(wasmtime.wat2wasm('''(module (memory (export "memory") 1) (func $deep (call $deep) (call $deep)) (start $deep)
  (func (export "f") (param $x f32) (result f32) (local.get $x)))'''))
try: Program.load(wasm).run({"x": np.ones(1, np.float32)})
except WasmError as error: print(type(error).__name__)
print(Program.load(WASM).run({"x": np.zeros(1, np.float32)}))
""",
        stack="1024",
    )
    assert message.startswith("Trap\n{")


def test_the_stack_of_a_thread_is_its_own() -> None:
    found: list[int] = []
    previous = threading.stack_size(3 * MIB)
    try:
        thread = threading.Thread(target=lambda: found.append(thread_stack_bytes()))
        thread.start()
    finally:
        threading.stack_size(previous)
    thread.join()
    assert found[0] > 2.9 * MIB  # the C library may reuse a larger one
    assert run_on_larger_stack(5 * MIB + 1, thread_stack_bytes) >= 5 * MIB
    with pytest.raises(ZeroDivisionError):
        run_on_larger_stack(5 * MIB, lambda: 1 // 0)
    assert threading.stack_size() == previous


# -- limits ------------------------------------------------------------------------------------------------------------


def test_every_limit_at_its_bounds_runs_or_is_a_wasm_error() -> None:
    cases: list[dict[str, Any]] = [
        {name: 1 if Limits.__dataclass_fields__[name].type == "int" else 1e-9} for name in FIELDS
    ]
    cases += [{name: int(most) if name.endswith("bytes") else most} for name, (most, _) in MAX_LIMITS.items()]
    cases += [{name: (1 << 62)} for name in FIELDS if name not in MAX_LIMITS]
    cases += [{"max_stack_bytes": size} for size in (4096, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 3 * MIB)]
    message = child(
        """
import json
for case in json.loads(sys.argv[1]):
    large = WASM + bytes([0, 128, 32]) + bytes(4096)  # is compiled in a process of its own
    wasm = large if "compile_timeout_s" in case else WASM
    try: print(Program.load(wasm, limits=Limits(**case), cache=None).run({"x": np.zeros(1, np.float32)})["f"][0])
    except KeyError: print("ok")
    except WasmError as error: print(type(error).__name__)
print(Program.load(WASM).run({"x": np.zeros(1, np.float32)}))
""",
        json.dumps(cases),
    )
    outcomes = message.splitlines()
    assert len(outcomes) == len(cases) + 1
    by_case = {next(iter(case.items())): outcome for case, outcome in zip(cases, outcomes)}
    assert by_case.pop(("timeout_s", 1e-9)) in ("ok", "GuestTimeout")  # as the ticks of the clock fall
    refused = {case: outcome for case, outcome in by_case.items() if outcome != "ok"}
    assert refused == {
        ("max_memory_bytes", 1): "ModuleError",
        ("max_tensor_bytes", 1): "InputError",
        ("max_module_bytes", 1): "ModuleError",
        ("compile_timeout_s", 1e-9): "ModuleError",
        ("max_stack_bytes", 1): "Trap",
    }


@pytest.mark.parametrize("name", MAX_LIMITS)
def test_a_limit_beyond_its_bound_is_rejected_with_the_bound(name: str) -> None:
    most, words = MAX_LIMITS[name]
    beyond = int(most) + 1
    with pytest.raises(SettingsError, match="at most") as caught:
        Limits(**{name: beyond})
    assert str(caught.value) == f"{name} must be at most {words}, not {beyond}"
    parameter, scale = _SECONDS.get(name, name), 1000 if name in _SECONDS else 1
    if name != "timeout_s":  # the parameter ends just under it
        at_most = wasm_settings.parse_parameters({f"wasm.{parameter}": {"string_value": str(int(most) * scale)}})
        assert getattr(at_most.limits, name) == most
    text = str(beyond * scale)
    with pytest.raises(SettingsError, match=f"{name} must be at most|{parameter} is"):
        wasm_settings.parse_parameters({f"wasm.{parameter}": {"string_value": text}})


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [True, "5", None, float("nan"), float("-inf"), [1], 0, -1])
def test_a_limit_that_is_not_a_positive_number_is_rejected_by_name(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"^{name} must be "):
        Limits(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in _SECONDS])
def test_a_size_that_is_not_an_integer_is_rejected_by_name(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} must be a whole number, not 1e6|1000000"):
        Limits(**{name: 1e6})  # type: ignore[arg-type]
