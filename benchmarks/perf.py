"""Load on a real Triton: perf_analyzer over gRPC with system shared memory."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import parts


@dataclass(frozen=True)
class Load:
    """What perf_analyzer sends: requests of `batch` items, `concurrency` at a time.

    `shape` is that of the input, as ``x:1024``. With `data`, a file of perf_analyzer's JSON, its elements are sent, and
    random ones without. `output_bytes` is the size of a request's largest output.
    """

    shape: str
    batch: int
    concurrency: int
    output_bytes: int
    data: Path | None = None


@dataclass(frozen=True)
class Figures:
    """What perf_analyzer measured: requests a second, and the average latency in microseconds."""

    throughput: float
    latency_us: float


def rows(width: int, batch: int, concurrency: int) -> Load:
    """Requests of `batch` rows of `width` FP32, answered with as many."""
    return Load(f"x:{width}", batch, concurrency, 4 * width * batch)


def perf_analyzer() -> list[str]:
    """The argv of perf_analyzer. Raises parts.Missing."""
    found: list[str] = parts.perf_analyzer.__wrapped__()  # type: ignore[attr-defined]  # nothing is skipped here
    return found


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
        command += ["--output-shared-memory-size", str(load.output_bytes), "--shape", load.shape]
        command += ["-b", str(load.batch), "--concurrency-range", str(load.concurrency)]
        command += ["--measurement-interval", str(int(seconds * 1000))]
        command += ["--stability-percentage", "100000", "--max-trials", "5", "-f", str(report)]
        if load.data is not None:
            command += ["--input-data", str(load.data)]
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
