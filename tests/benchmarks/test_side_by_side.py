"""Two servers with equal models, measured alternately."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import perf, processes, service_on_perf, side_by_side  # noqa: TID251
from benchmarks.perf import Transport  # noqa: TID251
from benchmarks.service_on_perf import GRPC, HTTP, JSON  # noqa: TID251
from benchmarks.side_by_side import Endpoint, Measurement, Pair  # noqa: TID251
from portalis.examples.catalog import EXAMPLES
from tests import parts

# a perf_analyzer that reports one request per second more with each run, and ten times as many for model "b"
COUNTER = """
import sys
from pathlib import Path
runs, options = Path(sys.argv[1]), dict(zip(sys.argv[2::1], sys.argv[3::1]))
runs.write_text((runs.read_text() if runs.exists() else "") + options["-m"])
count = len(runs.read_text()) * (10 if options["-m"] == "b" else 1)
Path(options["-f"]).write_text(f"Concurrency,Inferences/Second,p50 latency\\n1,{count},1\\n")
"""


def test_both_sides_are_measured_alternately(tmp_path: Path) -> None:
    by = Measurement([sys.executable, "-c", COUNTER, str(tmp_path / "runs")], 3, 0.1)
    pair = Pair(Endpoint("127.0.0.1:1", "a"), Endpoint("127.0.0.1:2", "b"), GRPC)
    found = pair.compare("name", "about", perf.rows(1, 1, 4), 0.5, by)
    assert (tmp_path / "runs").read_text() == "ababab"
    assert (found.name, found.about, found.target, found.at_most) == ("name-c4", "about, concurrency 4", 0.5, False)
    assert (found.ours, found.theirs) == (3.0, 40.0)
    assert found.spread == pytest.approx((1 / 20, 5 / 60))


def test_the_data_of_perf_analyzer_are_the_rows_of_an_array(tmp_path: Path) -> None:
    x = np.array([[0.1, -2.5e-20, 3e10]], np.float32)
    (entry,) = json.loads(side_by_side.write_data(tmp_path, x).read_text())["data"]
    np.testing.assert_array_equal(np.array(entry["x"], np.float32), x.ravel())


@pytest.mark.service
@pytest.mark.alone("perf_analyzer measures until the figures are stable")
def test_the_service_and_the_application_by_hand_agree_and_are_measured(tmp_path: Path) -> None:
    by = Measurement(parts.perf_analyzer(), 1, 0.1)
    x = np.random.default_rng(0).standard_normal((1, 64), np.float32)
    data = side_by_side.write_data(tmp_path, x)
    module = EXAMPLES["softmax"].module.read_bytes()
    with processes.service(tmp_path, "softmax", module) as ports, processes.fastapi() as port:
        for transport, model in ((HTTP, "softmax_binary"), (JSON, "softmax")):
            ours, theirs = Endpoint(ports.url("http"), "softmax"), Endpoint(f"127.0.0.1:{port}", model)
            pair = Pair(ours, theirs, transport)
            pair.check_equal(x)
            found = pair.compare("n", "about", perf.Load("x:64", 1, 2, x.nbytes, data), 2, by)
            assert found.ours > 0 and found.theirs > 0
        ours = Endpoint(ports.url("grpc"), "softmax")
        expected = np.exp(x) / np.exp(x).sum()
        np.testing.assert_allclose(side_by_side.infer(ours, GRPC, x), expected, rtol=1e-5)


@pytest.mark.service
@pytest.mark.triton
@pytest.mark.slow
@pytest.mark.alone("perf_analyzer gives its shared memory fixed names, and measures until the figures are stable")
def test_the_service_and_triton_agree_and_are_measured_with_shared_memory() -> None:
    by = Measurement(parts.perf_analyzer(), 1, 0.1)
    x = np.random.default_rng(0).random((1, 64), np.float32)
    for transport in (Transport("grpc"), Transport("http")):
        with service_on_perf.service_and_triton(transport) as pair:
            pair.check_equal(x)
            found = pair.compare("n", "about", perf.rows(64, 1, 2), 0.5, by)
            assert found.ours > 0 and found.theirs > 0


@pytest.mark.parametrize(
    ("cpus", "servers", "clients", "where"),
    [
        ([0, 1], [], [], "client not pinned: it shares 2 CPUs with the workers"),
        ([3], [], [], "client not pinned: it shares 1 CPUs with the workers"),
        ([0, 2, 4, 6], [0, 2], [4, 6], "client pinned to 2 CPUs of its own"),
    ],
)
def test_the_client_has_cpus_of_its_own_if_there_are_enough(
    cpus: list[int], servers: list[int], clients: list[int], where: str
) -> None:
    assert service_on_perf.split_cpus(cpus) == (servers, clients, where)


def test_a_command_is_pinned_to_cpus() -> None:
    (cpu, *_) = os.sched_getaffinity(0)
    program = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
    assert service_on_perf.pinned([]) == []
    assert subprocess.check_output([*service_on_perf.pinned([cpu]), *program], text=True) == f"{{{cpu}}}\n"


def test_unequal_outputs_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {"a": np.ones(2), "b": np.array([1.0, 2.0])}
    monkeypatch.setattr(side_by_side, "infer", lambda endpoint, transport, x: outputs[endpoint.model])
    with pytest.raises(AssertionError, match="model='a'.* and .*model='b'.* differ"):
        Pair(Endpoint("u", "a"), Endpoint("u", "b"), HTTP).check_equal(np.ones(2))
