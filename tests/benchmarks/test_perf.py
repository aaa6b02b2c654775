"""Command lines and reports of perf_analyzer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import perf  # noqa: TID251
from benchmarks.perf import Figures, Transport, measure, parse  # noqa: TID251
from tests import parts

# a report of perf_analyzer, and one with the average latency, which --verbose-csv adds
REPORT = (
    "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,"
    "Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency\n"
    "1,9435.13,3,149,47,12,144,61,0,402,442,460,502\n"
)
VERBOSE = (
    "Concurrency,Inferences/Second,Client Send,p50 latency,p99 latency,Avg latency,request/response,response wait\n"
    "4,1000,3,402,502,411,2,409\n"
)


@pytest.mark.parametrize(
    ("report", "batch", "figures"),
    [
        (REPORT, 1, Figures(9435.13, 402)),
        (REPORT, 4, Figures(9435.13 / 4, 402)),  # perf_analyzer counts rows as inferences; a request has `batch` rows
        (VERBOSE, 1, Figures(1000, 411)),
    ],
)
def test_requests_a_second_and_latency_are_read_from_the_report(report: str, batch: int, figures: Figures) -> None:
    assert parse(report, batch) == figures


@pytest.mark.parametrize(("report", "rows"), [("", 0), (REPORT.splitlines()[0], 0), (REPORT + "2,1,1,1\n", 2)])
def test_a_report_without_exactly_one_row_is_rejected(report: str, rows: int) -> None:
    with pytest.raises(RuntimeError, match=f"report: expected one row, got {rows}"):
        parse(report, 1)


def test_the_output_of_rows_has_the_size_of_the_input() -> None:
    load = perf.rows(1024, 64, 4)
    assert (load.shape, load.batch, load.concurrency, load.output_bytes) == ("x:1024", 64, 4, 256 * 1024)


@pytest.mark.parametrize(
    ("transport", "options"),
    [
        (Transport(), "-i grpc --shared-memory system --output-shared-memory-size 4096"),
        (Transport("http"), "-i http --shared-memory system --output-shared-memory-size 4096"),
        (Transport("grpc", shared_memory=False), "-i grpc"),
        (
            Transport("http", shared_memory=False),
            "-i http --input-tensor-format binary --output-tensor-format binary",
        ),
        (
            Transport("http", shared_memory=False, tensor_format="json"),
            "-i http --input-tensor-format json --output-tensor-format json",
        ),
    ],
)
def test_the_options_of_a_transport(transport: Transport, options: str) -> None:
    assert transport.options(perf.rows(1024, 1, 1)) == options.split()


def test_the_error_of_a_failed_run_contains_the_output_of_perf_analyzer(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import sys; print('no such model'); sys.exit('and this')"]
    with pytest.raises(RuntimeError, match=r"perf_analyzer failed on identity: no such model\nand this"):
        measure(program, "localhost:1", "identity", perf.rows(4, 1, 1), 0.1)
    silent = [sys.executable, "-c", "pass"]
    with pytest.raises(RuntimeError, match="perf_analyzer failed on identity"):
        measure(silent, "localhost:1", "identity", perf.rows(4, 1, 1), 0.1)


def test_without_perf_analyzer_the_other_benchmarks_run(tmp_path: Path) -> None:
    """The process has neither a PATH nor a directory of dependencies, so that it cannot find perf_analyzer."""
    program = """
import sys
from pathlib import Path
from tests import parts
parts.lookup.PARTS = Path("/nonexistent")
from benchmarks.__main__ import main  # noqa: TID251
sys.exit(main())
"""
    command = [sys.executable, "-c", program, "--only", "triton-softmax", "--json", str(tmp_path / "b.json")]
    for options, code in (([], 0), (["--strict"], 1)):
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, cwd=parts.ROOT, env={"PATH": "", "COLUMNS": "300"}
        )
        assert (done.returncode, done.stderr) == (code, "")
        assert "skipped triton-softmax: a dependency is missing: perf_analyzer: `make parts`" in done.stdout
        assert '"left_out": [\n    "triton-softmax"\n  ]' in (tmp_path / "b.json").read_text()
