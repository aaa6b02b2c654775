"""Runs perf_analyzer against a real Triton or a service, over gRPC or HTTP, with or without system shared memory."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests import parts


@dataclass(frozen=True)
class Load:
    """The load that perf_analyzer generates: requests of `batch` items, `concurrency` in flight.

    `shape`: name and shape of the input, for example ``x:1024``. `data`: a file in perf_analyzer's JSON format with the
    elements to send; they are random without it. `output_bytes`: size of a request's largest output.
    """

    shape: str
    batch: int
    concurrency: int
    output_bytes: int
    data: Path | None = None


@dataclass(frozen=True)
class Figures:
    """Measurements of perf_analyzer: requests per second, and the average latency in microseconds."""

    throughput: float
    latency_us: float


def rows(width: int, batch: int, concurrency: int) -> Load:
    """Requests of `batch` rows of `width` FP32 elements; the output has the same size."""
    return Load(f"x:{width}", batch, concurrency, 4 * width * batch)


def perf_analyzer() -> list[str]:
    """The argv prefix of perf_analyzer. Raises parts.Missing."""
    # the undecorated function raises Missing instead of skipping a test
    argv: list[str] = parts.perf_analyzer.__wrapped__()  # type: ignore[attr-defined]
    return argv


@dataclass(frozen=True)
class Transport:
    """Transport of tensors by perf_analyzer: the protocol, shared memory or not, and the format in HTTP bodies."""

    protocol: Literal["grpc", "http"] = "grpc"
    shared_memory: bool = True
    tensor_format: Literal["binary", "json"] = "binary"

    def options(self, load: Load) -> list[str]:
        """The options of perf_analyzer."""
        options = ["-i", self.protocol]
        if self.shared_memory:
            size = str(load.output_bytes)
            return [*options, "--shared-memory", "system", "--output-shared-memory-size", size]
        if self.protocol == "http":
            return [*options, "--input-tensor-format", self.tensor_format, "--output-tensor-format", self.tensor_format]
        return options


SHARED_MEMORY = Transport()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until no other process of these benchmarks runs perf_analyzer.

    Every perf_analyzer uses the same names for its shared memory. A second one removes the memory of the first, whose
    server then crashes.
    """
    with (Path(tempfile.gettempdir()) / "portalis-perf_analyzer.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def measure(
    argv: list[str], url: str, model: str, load: Load, seconds: float, transport: Transport = SHARED_MEMORY
) -> Figures:
    """Run perf_analyzer once. Raises RuntimeError with its output if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.csv"
        command = [*argv, "-m", model, "-u", url, *transport.options(load), "--shape", load.shape]
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
    """Parse perf_analyzer's CSV report. Raises RuntimeError unless it has exactly one row, for one concurrency."""
    rows = list(csv.DictReader(report.splitlines()))
    if len(rows) != 1:
        raise RuntimeError(f"perf_analyzer's report: expected one row, got {len(rows)}: {report!r}")
    row = rows[0]
    latency = row.get("Avg latency") or row["p50 latency"]
    return Figures(float(row["Inferences/Second"]) / batch, float(latency))
