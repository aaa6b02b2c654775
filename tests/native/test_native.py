"""The native executor and its Triton layer between stand-ins, under AddressSanitizer and UndefinedBehaviorSanitizer.

The programs are in C (``core_test.c``, ``triton_layer_test.c``, ``fuzz_*.c``); these tests build and run them.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import parts
from tests.native import build, fuzzing
from tests.running.waiting import PATIENCE_S

pytestmark = [pytest.mark.compiler, pytest.mark.bulk]  # all of the C is compiled anew
ROUNDS = {"plan": 300000, "adapter": 10000}  # about ten seconds of CPU each
REACHED = {"plan": 300, "adapter": 500}  # edges of the core, at least


@pytest.fixture(scope="module")
def programs() -> Path:
    return build.built(parts.clang())


def run(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    """The output of the program if it succeeds."""
    log = folder / "log"
    with log.open("wb") as output:
        done = subprocess.run(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=build.environment(**environment),
            cwd=folder,
            timeout=5 * PATIENCE_S,
            check=False,
        )
    text = log.read_text(errors="replace")
    assert done.returncode == 0, text[-8000:]
    return text


@pytest.mark.parametrize(
    "test",
    [
        "failures",
        "failures-for-good",
        "no-memory",
        "lies",
        "small-memories",
        "pieces",
        "hosts",
        "renewing",
        "deadlines",
        "late-ticks",
        "no-ticker",
        "room",
        "lending",
        "small-stacks",
        "tidying",
        "threads",
        "bad-plans",
        "mappings",
    ],
)
def test_the_core_answers_whatever_wasmtime_and_the_adapter_do(test: str, programs: Path, tmp_path: Path) -> None:
    assert f"{test}: passed" in run([programs / "core_test", programs / "libfake_wasmtime.so", test], tmp_path)


def test_programs_work_on_in_the_child_of_a_fork(programs: Path, tmp_path: Path) -> None:
    plain = programs / "plain"
    assert "forks: passed" in run([plain / "core_test", plain / "libfake_wasmtime.so", "forks"], tmp_path)


@pytest.mark.parametrize(
    "test",
    [
        "other-library",
        "bad-requests",
        "parameters",
        "batches",
        "late-requests",
        "words",
        "lies",
        "threads",
        "failures-of-triton",
        "failures-of-wasmtime",
        "no-memory",
        "referred",
        "helpers",
    ],
)
def test_the_triton_layer_answers_and_releases_each_request_once_and_leaves_nothing(
    test: str, programs: Path, tmp_path: Path
) -> None:
    assert f"{test}: passed" in run([programs / "triton_layer_test", programs / "wasm", test], tmp_path)


@pytest.mark.parametrize(
    "fails",
    ["", "cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuMemcpyDtoH_v2"],
)
def test_the_triton_layer_reads_memory_of_a_gpu_or_says_why_it_cannot(
    fails: str, programs: Path, tmp_path: Path
) -> None:
    environment = {"LD_LIBRARY_PATH": str(programs / "cuda")}
    if fails:
        environment["FAKE_CUDA_FAILS"] = fails
    run([programs / "triton_layer_test", programs / "wasm", "gpu"], tmp_path, **environment)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plan", "adapter"])
def test_no_plan_and_no_adapter_makes_the_core_touch_what_is_not_its_own(
    name: str, programs: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    rounds = [f"-runs={ROUNDS[name]}", "-seed=1", str(corpus), *fuzzing.seeds(programs, name)]
    printed = run(fuzzing.command(programs, name, *rounds), tmp_path)
    done = re.search(rf"#{ROUNDS[name]}\tDONE +cov: (\d+)", printed)
    assert done, printed[-2000:]
    assert int(done[1]) > REACHED[name], "inputs are refused before they reach anything"


def test_the_seeds_are_few() -> None:
    for name in fuzzing.LONGEST:
        sizes = [path.stat().st_size for path in (fuzzing.SEEDS / name).iterdir()]
        assert 10 < len(sizes) <= fuzzing.MAX_SEEDS
        assert sum(sizes) <= fuzzing.MAX_SEED_BYTES
