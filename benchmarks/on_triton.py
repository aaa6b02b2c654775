"""The benchmarks on a real Triton, driven by perf_analyzer over gRPC with system shared memory.

Every pair runs in the same server, one after the other: a WebAssembly model, and the Python model that it replaces.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import wasmtime

from portalis.examples.catalog import EXAMPLES
from portalis.tritonserver import TritonServer
from tests import parts

from . import plugins
from .harness import Result, compare

HERE = Path(__file__).resolve().parent
CONFIG = """backend: "{backend}"
max_batch_size: 64
input {{ name: "x" data_type: TYPE_FP32 dims: [-1] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [-1] }}
dynamic_batching {{ }}
{more}
"""
KIB = 1024


@dataclass(frozen=True)
class Load:
    """What perf_analyzer sends: requests of `batch` rows of `width` FP32."""

    width: int
    batch: int
    concurrency: int

    @property
    def size(self) -> int:
        """Bytes of one request."""
        return 4 * self.width * self.batch


@dataclass(frozen=True)
class Figures:
    """What perf_analyzer measured: requests a second, and the average latency in microseconds."""

    throughput: float
    latency_us: float


def write_models(repository: Path) -> None:
    """The models of all pairs."""
    kept = 'parameters { key: "wasm.isolation" value { string_value: "instance" } }'
    identity = bytes(wasmtime.wat2wasm(plugins.IDENTITY))
    for name, module, more in (
        ("identity", identity, ""),
        ("identity_instance", identity, kept),
        ("softmax", EXAMPLES["softmax"].module.read_bytes(), ""),
    ):
        _model(repository, name, "wasm", more)
        (repository / name / "1" / "model.wasm").write_bytes(module)
    for name in ("identity_python", "softmax_numpy"):
        _model(repository, name, "python", "")
        shutil.copyfile(HERE / "models" / f"{name}.py", repository / name / "1" / "model.py")


def _model(repository: Path, name: str, backend: str, more: str) -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(CONFIG.format(backend=backend, more=more))


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until no other perf_analyzer of ours runs: all give their shared memory the same names, and a second one
    takes it away from under the first one's server, which dies of it."""
    with (Path(tempfile.gettempdir()) / "portalis-perf_analyzer.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def measure(argv: list[str], url: str, model: str, load: Load, seconds: float) -> Figures:
    """One pass of perf_analyzer. Raises RuntimeError with what it said when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.csv"
        command = [*argv, "-m", model, "-i", "grpc", "-u", url, "--shared-memory", "system"]
        command += ["--output-shared-memory-size", str(load.size), "--shape", f"x:{load.width}", "-b", str(load.batch)]
        command += ["--concurrency-range", str(load.concurrency), "--measurement-interval", str(int(seconds * 1000))]
        command += ["--stability-percentage", "500", "--max-trials", "5", "-f", str(report)]
        with alone():
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode or not report.exists():
            raise RuntimeError(f"perf_analyzer failed on {model}: {(done.stdout + done.stderr)[-2000:]}")
        return parse(report.read_text(), load.batch)


def parse(report: str, batch: int) -> Figures:
    """The figures in perf_analyzer's CSV report of one concurrency. Raises RuntimeError for another report."""
    rows = list(csv.DictReader(report.splitlines()))
    if len(rows) != 1:
        raise RuntimeError(f"perf_analyzer's report has {len(rows)} rows where one was expected: {report!r}")
    row = rows[0]
    latency = row.get("Avg latency") or row["p50 latency"]
    return Figures(float(row["Inferences/Second"]) / batch, float(latency))


def run(rounds: int, seconds: float) -> list[Result]:
    """All pairs. Raises parts.Missing without perf_analyzer."""
    argv = parts.perf_analyzer.__wrapped__()  # type: ignore[attr-defined]  # as it is: nothing here is to be skipped
    with tempfile.TemporaryDirectory(prefix="portalis-bench-") as folder:
        write_models(Path(folder))
        with TritonServer(folder) as server:

            def throughput(ours: str, theirs: str, load: Load, target: float, name: str, about: str) -> Result:
                pairs = [
                    (
                        measure(argv, server.grpc_url, ours, load, seconds).throughput,
                        measure(argv, server.grpc_url, theirs, load, seconds).throughput,
                    )
                    for _ in range(rounds)
                ]
                return compare(name, about, pairs, unit="1/s", target=target, at_most=False)

            results = []
            for concurrency in (1, 4):
                for label, width, target in (("4 KiB", KIB, 0.95), ("1 MiB", 256 * KIB, 0.85)):
                    load = Load(width, 1, concurrency)
                    name = f"triton-identity-{label.replace(' ', '').lower()}-c{concurrency}"
                    about = f"Triton identity {label}, concurrency {concurrency}: wasm / model.py, requests/s"
                    results.append(throughput("identity", "identity_python", load, target, name, about))
                load = Load(KIB, 64, concurrency)
                about = f"Triton softmax 64x1024, concurrency {concurrency}: wasm / numpy model.py, requests/s"
                name = f"triton-softmax-c{concurrency}"
                results.append(throughput("softmax", "softmax_numpy", load, 1.0, name, about))
            load = Load(KIB, 1, 1)
            latencies = [
                (
                    measure(argv, server.grpc_url, "identity", load, seconds).latency_us,
                    measure(argv, server.grpc_url, "identity_instance", load, seconds).latency_us,
                )
                for _ in range(rounds)
            ]
            about = "Triton identity 4 KiB, latency: isolation batch / instance"
            results.append(compare("triton-isolation", about, latencies, unit="us", target=1.15))
            return results
