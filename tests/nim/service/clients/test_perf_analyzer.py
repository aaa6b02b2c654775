"""Triton's perf_analyzer against the service, with the options of its users."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import parts
from tests.running.waiting import PATIENCE_S

from .target import Target, operands

pytestmark = [
    pytest.mark.alone("perf_analyzer gives its shared memory fixed names, and measures until the figures are stable"),
    pytest.mark.service,
]
COUNT = 100


@pytest.fixture(scope="module")
def json_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of inputs with the outputs that they must have."""
    entries, outputs = [], []
    for second in (1, 2):
        a, b = (array.ravel() for array in operands(second))
        entries.append({"INPUT0": a.tolist(), "INPUT1": {"content": b.tolist(), "shape": [16]}})
        outputs.append({"OUTPUT0": (a + b).tolist(), "OUTPUT1": (a - b).tolist()})
    file = tmp_path_factory.mktemp("data") / "data.json"
    file.write_text(json.dumps({"data": entries, "validation_data": outputs}))
    return file


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a file of raw bytes for each input."""
    folder = tmp_path_factory.mktemp("data")
    for number, array in enumerate(operands()):
        (folder / f"INPUT{number}").write_bytes(array.tobytes())
    return folder


def measure(target: Target, protocol: str, report: Path, *options: str, model: str = "simple") -> list[dict[str, str]]:
    """The rows of the report of one run."""
    url = target.http if protocol == "http" else target.grpc
    command = [*parts.perf_analyzer(), "-m", model, "-i", protocol, "-u", url, "-f", str(report)]
    command += ["--request-count", str(COUNT), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-500:]
    rows = list(csv.DictReader(report.read_text().splitlines()))
    assert rows and all(float(row["Inferences/Second"]) > 0 for row in rows), done.stdout
    return rows


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report.csv"


@pytest.fixture(autouse=True)
def _no_failed_request(service_target: Target) -> Iterator[None]:
    """Fail a test in which a request failed: perf_analyzer reports the others."""
    before = _counts(service_target)
    yield
    after = _counts(service_target)
    assert after[0] >= before[0] + COUNT and after[1] == before[1]


def _counts(target: Target) -> tuple[int, int]:
    """The number of all requests that succeeded, and of those that failed."""
    with target.grpc_client() as client:
        statistics = [each.inference_stats for each in client.get_inference_statistics().model_stats]
    return sum(each.success.count for each in statistics), sum(each.fail.count for each in statistics)


def test_json_tensors_from_a_file(service_target: Target, json_file: Path, report: Path) -> None:
    formats = ["--input-tensor-format", "json", "--output-tensor-format", "json"]
    measure(service_target, "http", report, *formats, "--input-data", str(json_file), "--concurrency-range", "2")


def test_a_stream_of_tensors_from_a_file(service_target: Target, json_file: Path, report: Path) -> None:
    measure(service_target, "grpc", report, "--streaming", "--async", "--input-data", str(json_file))


def test_tensors_from_a_directory_in_batches(service_target: Target, directory: Path, report: Path) -> None:
    measure(service_target, "grpc", report, "--input-data", str(directory), "-b", "4")


def test_the_largest_batch_of_the_configuration_and_metrics(service_target: Target, report: Path) -> None:
    with service_target.http_client() as client:
        largest = int(client.get_model_config("simple")["max_batch_size"])
    metrics = ["--collect-metrics", "--metrics-url", service_target.metrics, "--verbose-csv"]
    (row,) = measure(service_target, "http", report, "-b", str(largest), "-x", "1", *metrics)
    assert float(row["Server Compute Infer"]) > 0


def test_a_constant_rate_of_requests(service_target: Target, report: Path) -> None:
    measure(service_target, "grpc", report, "--request-rate-range", "100", "--request-distribution", "constant")


def test_bytes_tensors(service_target: Target, report: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    texts = [str(number) for number in range(16)]
    data.write_text(json.dumps({"data": [{"INPUT0": texts, "INPUT1": texts}]}))
    measure(service_target, "http", report, "--input-data", str(data), model="simple_string")


@pytest.mark.parametrize(("protocol", "options"), [("http", []), ("grpc", ["--streaming", "--async"])])
def test_sequences(service_target: Target, report: Path, protocol: str, options: list[str]) -> None:
    length = ["--sequence-length", "5", "--sequence-id-range", "1000:2000"]
    measure(
        service_target, protocol, report, *options, *length, "--concurrency-range", "4", model="simple_dyna_sequence"
    )


def test_sequences_at_a_constant_rate(service_target: Target, report: Path) -> None:
    rate = ["--request-rate-range", "100", "--num-of-sequences", "3", "--sequence-length", "4"]
    measure(service_target, "grpc", report, *rate, model="simple_sequence")
