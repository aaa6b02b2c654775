"""Benchmarks without a server: the runtime against NumPy, direct wasmtime calls, and Extism."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import wasmtime

from portalis.backend import GuestTimeout, Limits, Program
from portalis.examples.catalog import ECHO, EXAMPLES
from tests import parts

from . import plugins
from .harness import Result, compare, in_turn, timed

ROOT = Path(__file__).resolve().parent.parent
MIB = 1 << 20
ADD = bytes(
    wasmtime.wat2wasm(
        '(module (func (export "add") (param $a f32) (param $b f32) (result f32)'
        " (f32.add (local.get $a) (local.get $b))))"
    )
)


def same(got: np.ndarray, wanted: np.ndarray) -> None:
    """Check, before the measurement, that both sides compute the same."""
    np.testing.assert_allclose(got, wanted, rtol=2e-5)


def _extism() -> ModuleType:
    """The `extism` package. Raises parts.Missing."""
    found: ModuleType = parts.extism.__wrapped__()  # type: ignore[attr-defined]  # the undecorated function: it raises Missing and skips no test
    return found


def elementwise(rounds: int) -> list[Result]:
    """A million additions: against NumPy, and against one call of the export from Python per element."""
    rng = np.random.default_rng(0)
    a, b = (rng.random(1_000_000, np.float32) for _ in range(2))
    program = Program.load(ADD)
    same(program.run({"a": a, "b": b})["y"], a + b)
    pairs = in_turn(lambda: program.run({"a": a, "b": b}), lambda: a + b, rounds=rounds, repeat=(7, 7))
    against_numpy = compare("elementwise-numpy", "add, 1,000,000 FP32: Program.run / numpy", pairs, unit="s", target=8)

    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    add = wasmtime.Instance(store, wasmtime.Module(engine, ADD), []).exports(store)["add"]
    assert isinstance(add, wasmtime.Func)
    xs, ys = a[:10_000].tolist(), b[:10_000].tolist()

    def each() -> None:
        for x, y in zip(xs, ys, strict=True):
            add(store, x, y)

    pairs = [
        (timed(lambda: program.run({"a": a, "b": b}), 7), timed(each, 1) * 100) for _ in range(max(2, rounds // 2))
    ]
    against_calls = compare(
        "elementwise-calls",
        "add, 1,000,000 FP32: a wasmtime call each (from 10,000) / Program.run",
        pairs,
        unit="s",
        target=2000,
        at_most=False,
        invert=True,
    )
    return [against_numpy, against_calls]


def call_overhead(rounds: int) -> list[Result]:
    """Two numbers in, one out: Program.run against Extism's plugin.call.

    Each round loads a new program and a new plugin: depending on a plugin's memory addresses, the same call takes
    12 or 20 us.
    """
    extism = _extism()
    add = bytes(wasmtime.wat2wasm(plugins.ADD))
    a, b = np.array([1.5], np.float32), np.array([2.25], np.float32)
    packed, inputs = np.concatenate([a, b]).tobytes(), {"a": a, "b": b}
    pairs = []
    for _ in range(3 * rounds):
        program, plugin = Program.load(ADD), extism.Plugin(add)
        same(np.frombuffer(plugin.call("add", packed), np.float32), program.run(inputs)["y"])
        pairs += in_turn(
            partial(program.run, inputs), partial(plugin.call, "add", packed), rounds=1, repeat=(2000, 2000)
        )
        program.close()
    return [compare("call-overhead", "one-element add: Program.run / Extism plugin.call", pairs, unit="s", target=0.3)]


def echo(rounds: int) -> list[Result]:
    """Echo of 16 MiB through the ``dlpack`` convention, against Extism."""
    extism = _extism()
    program, plugin = Program.load(ECHO.module), extism.Plugin(bytes(wasmtime.wat2wasm(plugins.ECHO)))
    x = np.random.default_rng(1).random((1, 4 * MIB), np.float32)
    raw = x.tobytes()
    same(np.frombuffer(plugin.call("echo", raw), np.float32), program.run({"x": x})["y"][0])
    pairs = in_turn(lambda: program.run({"x": x}), lambda: plugin.call("echo", raw), rounds=rounds, repeat=(5, 2))
    return [compare("echo-16mib", "16 MiB echo: dlpack / Extism", pairs, unit="s", target=0.2)]


def threads(rounds: int) -> list[Result]:
    """Softmax of 16 MiB with one thread against two threads."""
    x = np.random.default_rng(2).normal(size=(4096, 1024)).astype(np.float32)
    one, two = (Program.load(EXAMPLES["softmax"].module, threads=count) for count in (1, 2))
    same(two.run({"x": x})["y"], EXAMPLES["softmax"].reference({"x": x})["y"])
    pairs = in_turn(lambda: two.run({"x": x}), lambda: one.run({"x": x}), rounds=rounds, repeat=(7, 7))
    return [
        compare(
            "threads",
            "softmax of 16 MiB: wasm.threads=1 / wasm.threads=2",
            pairs,
            unit="s",
            target=1.7,
            at_most=False,
            invert=True,
        )
    ]


LIMIT_S, GRACE_S = 0.3, 0.1  # a guest must end at most this long after its time limit


def deadline(rounds: int) -> list[Result]:
    """The time until a guest that loops forever is interrupted, against its guaranteed maximum."""
    loop = '(module (func (export "f") (param $x f32) (result f32) (loop $l (br $l)) (local.get $x)))'
    program = Program.load(bytes(wasmtime.wat2wasm(loop)), limits=Limits(timeout_s=LIMIT_S))
    x = {"x": np.zeros(1, np.float32)}

    def stopped() -> None:
        with contextlib.suppress(GuestTimeout):
            program.run(x)
            raise RuntimeError("the loop ended without an interruption")

    pairs = [(timed(stopped, 1), LIMIT_S + GRACE_S) for _ in range(3 * rounds)]
    return [
        compare("deadline", f"a loop with a limit of {LIMIT_S} s / {LIMIT_S} + {GRACE_S} s", pairs, unit="s", target=1)
    ]


_LOAD = """
import sys, time
from pathlib import Path
from portalis.backend import CompileCache, Program
began = time.perf_counter()
with Program.load(sys.argv[1], cache=CompileCache(Path(sys.argv[2]))) as program:
    took = time.perf_counter() - began
    assert program.run({program.interface.inputs[0].name: 2.0})["y"].shape == ()
print(took)
"""


def second_load(rounds: int) -> list[Result]:
    """Loading a 7 MB module a second time, in a new process, against the first time."""
    sys.path.insert(0, str(ROOT))
    from tests.backend.big_module import big_module

    pairs = []
    for _ in range(max(2, rounds // 3)):
        with tempfile.TemporaryDirectory() as folder:
            module = Path(folder) / "big.wasm"
            module.write_bytes(big_module(7_000_000))
            command = [sys.executable, "-c", _LOAD, str(module), f"{folder}/cache"]
            first, second = (
                float(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
                for _ in range(2)
            )
            pairs.append((second, first))
    return [compare("second-load", "loading a 7 MB module: second time / first", pairs, unit="s", target=1 / 20)]
