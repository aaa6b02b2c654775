"""Start and stop of a service of several worker processes."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.nim.service.process import SLOW, SPIN, running, write_modules
from tests.nim.service.test_drain import Load
from tests.running import waiting
from tests.running.ports import free_port

from .test_workers import ADD, pids, wait_listening

pytestmark = pytest.mark.service


def _is_running(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_stop_loses_no_request_of_any_worker(tmp_path: Path) -> None:
    with running(tmp_path, write_modules(tmp_path, slow=SLOW), worker_processes=2) as service:
        service.wait_ready()
        wait_listening(service)
        load = Load(service)
        load.start()
        waiting.until(lambda: load.responses > 20, str)
        load.stopping = True
        service.process.send_signal(signal.SIGTERM)
        load.join()
        assert service.end() == 0
    assert load.failures == []
    ends = [record["worker"] for record in service.records() if "Finished server process" in record["message"]]
    assert sorted(ends) == [1, 2]


def test_a_second_signal_ends_all_processes_immediately(tmp_path: Path) -> None:
    models = write_modules(tmp_path, spin=SPIN)
    models[0] |= {"limits": {"timeout_s": 600}, "warm_up": []}
    with running(tmp_path, write_modules(tmp_path, add=ADD), worker_processes=2, drain_s=600) as service:
        service.wait_ready()
        with socket.create_connection(("127.0.0.1", service.client.port)):  # the drain waits for it
            service.process.send_signal(signal.SIGTERM)
            service.wait_for_line("stopping: 0 requests")
            service.process.send_signal(signal.SIGTERM)
            assert service.end() == 128 + signal.SIGTERM
        waiting.until(lambda: not any(map(_is_running, pids(service).values())), service.text)


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    with running(tmp_path, write_modules(tmp_path, add=ADD), worker_processes=2) as service:
        service.wait_ready()
        service.process.kill()
        waiting.until(lambda: not any(map(_is_running, pids(service).values())), service.text)
        assert service.text().count("the supervisor has ended") == 2


def test_a_worker_that_ends_at_its_start_five_times_ends_the_service(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif any('worker_process' in each for each in sys.orig_argv):\n    os._exit(3)\n"
    )
    environment = {"PYTHONPATH": str(tmp_path), "NIM_WORKER_PROCESSES": "2"}
    with running(tmp_path, write_modules(tmp_path, add=ADD), environment=environment) as service:
        assert service.end() == 1
    assert re.search(r"worker [12] ended 5 times before it served, last with exit status 3", service.text())


@pytest.mark.parametrize("setting", ["service_port", "grpc_port", "metrics_port"])
def test_a_port_in_use_is_reported_before_a_worker_starts(tmp_path: Path, setting: str) -> None:
    port = free_port()
    changes: dict[str, Any] = {setting: port}
    with socket.socket() as other:
        other.bind(("0.0.0.0", port))
        other.listen()
        with running(tmp_path, write_modules(tmp_path, add=ADD), worker_processes=2, **changes) as service:
            assert service.end() == 1
    (line,) = service.log
    assert line.startswith(f"cannot listen on 0.0.0.0:{port} ({setting}): Address already in use")


def test_a_second_service_does_not_share_the_port_for_grpc(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    with running(first, write_modules(first, add=ADD), worker_processes=2) as service:
        service.wait_ready()
        port = service.client.grpc_port
        with running(second, write_modules(second, add=ADD), worker_processes=2, grpc_port=port) as other:
            assert other.end() == 1
        assert f"cannot listen on 0.0.0.0:{port} (grpc_port)" in other.text()


def test_sequences_need_a_single_process(tmp_path: Path) -> None:
    models = [{**each, "sequence_batching": {}} for each in write_modules(tmp_path, add=ADD)]
    with running(tmp_path, models, worker_processes=2) as service:
        assert service.end() == 2
    assert "worker_processes must be 1: the requests of a sequence of 'add' could reach" in service.text()
