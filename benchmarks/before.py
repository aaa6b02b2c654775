"""The runtime against itself at an earlier commit: `git archive` extracts that commit's ``backend/``.

The default commit is the last one with a runtime entirely in Python; PORTALIS_BENCH_BEFORE selects a different one.
"""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from portalis.backend import Program
from portalis.tritonserver import TritonServer, create_backend_directory
from tests.parts import Missing

from . import perf, repository
from .harness import Result, compare, in_turn
from .on_triton import KIB, Bench

ROOT = Path(__file__).resolve().parent.parent
COMMIT = "9b20b65cb3046ad08a25b53d99df35f1c4e361c1"
VARIABLE = "PORTALIS_BENCH_BEFORE"
ISLAND = "portalis_backend"


def extract_backend(target: Path) -> None:
    """Extract ``backend/`` of the earlier commit to `target`. Raises parts.Missing if the clone lacks the commit."""
    commit = os.environ.get(VARIABLE, COMMIT)
    try:
        packed = subprocess.run(["git", "archive", commit, "backend"], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise Missing(f"not run: no Git clone with commit {commit} found ({VARIABLE} selects another)") from None
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        (Path(folder) / "backend").rename(target)


def program(rounds: int) -> list[Result]:
    """`Program.run` of an identity model with 4 KiB of input."""
    x = {"x": np.random.default_rng(0).random((1, KIB), np.float32)}
    interface = repository.ROWS.section()
    with tempfile.TemporaryDirectory(prefix="portalis-bench-") as folder:
        earlier = _import_earlier(Path(folder))
        ours = Program.load(repository.identity(), interface=interface)
        theirs = earlier.Program.load(repository.identity(), interface=interface)
        with ours, theirs:
            for each in (ours, theirs):
                np.testing.assert_array_equal(each.run(x)["y"], x["x"])
            pairs = in_turn(lambda: ours.run(x), lambda: theirs.run(x), rounds=3 * rounds, repeat=(2000, 2000))
    about = "Program.run, identity of 4 KiB, calls a second: now / before"
    return [compare("program-before", about, pairs, unit="s", target=2, at_most=False, invert=True)]


def _import_earlier(folder: Path) -> ModuleType:
    extract_backend(folder / ISLAND)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(ISLAND)
    finally:
        sys.path.remove(str(folder))


def on_triton(rounds: int, seconds: float) -> list[Result]:
    """The Python engine on Triton: an identity model with 4 KiB and with 1 MiB of input."""
    argv = perf.perf_analyzer()
    results = []
    with tempfile.TemporaryDirectory(prefix="portalis-bench-") as folder:
        backends = create_backend_directory(Path(folder) / "backends")
        earlier = backends / "wasm_before"
        earlier.mkdir()
        extract_backend(earlier / ISLAND)
        (earlier / "model.py").write_text(f"from {ISLAND}.triton_model import TritonPythonModel\n")
        now = repository.wasm("now", repository.identity(), repository.ROWS, engine="python", batching=True)
        fields: dict[str, Any] = {**now.__dict__, "name": "before", "backend": "wasm_before", "settings": {}}
        repository.write(Path(folder) / "models", [now, repository.Model(**fields)])
        with TritonServer(Path(folder) / "models", backend_directory=backends) as server:
            bench = Bench(server, argv, rounds, seconds)
            for label, width in (("4 KiB", KIB), ("1 MiB", 256 * KIB)):
                for concurrency in (1, 4):
                    throughput = bench.throughput(["now", "before"], perf.rows(width, 1, concurrency))
                    name = f"triton-before-{label.replace(' ', '').lower()}-c{concurrency}"
                    about = (
                        f"Triton identity {label}, concurrency {concurrency}, Python engine: now / before, requests/s"
                    )
                    pairs = list(zip(throughput["now"], throughput["before"], strict=True))
                    results.append(compare(name, about, pairs, unit="1/s", target=0.9, at_most=False))
    return results
