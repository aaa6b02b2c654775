"""A service of two worker processes: every answer is that of the whole service, whichever process gives it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from tritonclient.utils import InferenceServerException

from tests.nim.service.process import Service, body, running, write_modules
from tests.nim.service.shared_memory.shared_objects import SharedObject, shared_object
from tests.running import waiting
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.service

ADD = '(module (func (export "add") (param $x f32) (result f32) (f32.add (local.get $x) (f32.const 1))))'
INFER = "/v1/models/add/infer"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("workers")
    with running(folder, write_modules(folder, add=ADD), worker_processes=2, max_shared_memory_regions=3) as service:
        service.wait_ready()
        wait_listening(service)
        yield service


def wait_listening(service: Service) -> None:
    """Wait until two workers listen."""
    service._until(lambda: service.text().count("Application startup complete") >= 2)


def pids(service: Service) -> dict[int, int]:
    """The process ids of the workers that have started last, by number."""
    found = {}
    for record in service.records():
        if started := re.fullmatch(r"Started server process \[(\d+)\]", record["message"]):
            found[record["worker"]] = int(started[1])
    return found


def serving_workers(service: Service, requests: int) -> set[int]:
    """The workers that answered the last requests."""
    records = [record for record in service.records() if record.get("path") == INFER]
    return {record["worker"] for record in records[-requests:]}


class Clients:
    """Each sends requests on a connection of its own, and opens another one when it is reset."""

    def __init__(self, service: Service, count: int) -> None:
        self._port, self._stop = service.client.port, threading.Event()
        self.responses, self.resets, self.failures = [0] * count, [0] * count, list[str]()
        self._threads = [threading.Thread(target=self._send, args=[number]) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    def wait_for_more(self, responses: int) -> None:
        """Wait until each client has had as many more responses."""
        before = list(self.responses)
        waiting.until(lambda: all(now >= then + responses for now, then in zip(self.responses, before)), str)

    def _send(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        while not self._stop.is_set():
            try:
                connection.request("POST", INFER, body(float(number)))
                response = connection.getresponse()
                outputs = json.loads(response.read())
            except (ConnectionError, http.client.HTTPException):
                self.resets[number] += 1
                connection.close()
                continue
            if response.status != 200 or outputs["outputs"][0]["data"] != [number + 1]:
                self.failures.append(f"{response.status} {outputs}")
            self.responses[number] += 1
            time.sleep(0.002)


def test_requests_over_http_and_grpc_reach_both_workers_and_are_counted_together(service: Service) -> None:
    before = service.client.metric("wasm_service_requests_total")

    def both_serve() -> bool:
        nonlocal before
        assert service.client.send(INFER, body(1.0))[0] == 200
        before += 1
        return serving_workers(service, 20) == {1, 2}

    service._until(both_serve)
    tensor = grpc_client.InferInput("x", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.array([[1]], np.float32))
    for number in range(20):
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        with grpc_client.InferenceServerClient(f"127.0.0.1:{service.client.grpc_port}", channel_args=options) as client:
            assert client.infer("add", [tensor], request_id=str(number)).as_numpy("y") == 2
    calls = "/inference.GRPCInferenceService/ModelInfer"
    service._until(lambda: {each["worker"] for each in service.records() if each.get("path") == calls} == {1, 2})
    for _ in range(4):  # of both workers, also over the port for metrics
        assert service.client.metric("wasm_service_requests_total") == before + 20
        assert f"wasm_service_workers {2.0}" in service.client.get("/metrics", port=service.client.metrics_port)[1]
        statistics = service.client.get("/v2/models/stats")[1]["model_stats"]
        assert [each["inference_count"] for each in statistics] == [before + 20]
        assert service.client.get("/v2/models/add/stats")[1]["model_stats"] == statistics
    with grpc_client.InferenceServerClient(f"127.0.0.1:{service.client.grpc_port}") as client:
        assert client.get_inference_statistics("add").model_stats[0].inference_count == before + 20


def test_the_first_worker_compiles_the_modules_for_the_others(service: Service) -> None:
    # the second worker starts to load it when the first one is ready
    lines = [record for record in service.records() if "model 'add' is ready" in record["message"]]
    assert [record["worker"] for record in lines][:2] == [1, 2]


def _infer_in_regions(client: Any, module: Any) -> None:
    tensor = module.InferInput("x", [1, 1], "FP32")
    tensor.set_shared_memory("input", 4)
    output = module.InferRequestedOutput("y")
    output.set_shared_memory("output", 4)
    client.infer("add", [tensor], outputs=[output])


def _regions_are_usable(service: Service, left: SharedObject, right: SharedObject) -> None:
    for value in range(8):
        left.write(np.array([value], np.float32).tobytes())
        with http_client.InferenceServerClient(f"127.0.0.1:{service.client.port}") as client:
            _infer_in_regions(client, http_client)
        assert np.frombuffer(right.read()[:4], np.float32) == value + 1


def test_a_region_is_registered_in_all_workers(service: Service) -> None:
    with shared_object(8) as left, shared_object(8) as right:
        with http_client.InferenceServerClient(f"127.0.0.1:{service.client.port}") as client:
            client.register_system_shared_memory("input", left.key, 4)
            client.register_system_shared_memory("output", right.key, 4)
            with pytest.raises(InferenceServerException, match="already in manager"):
                client.register_system_shared_memory("input", right.key, 4)
            with pytest.raises(InferenceServerException, match="Unable to open"):
                client.register_system_shared_memory("missing", "/does-not-exist", 4)
        names = [{"input", "output"}] * 6
        assert [{each["name"] for each in _status(service)} for _ in range(6)] == names
        _regions_are_usable(service, left, right)
        pid = pids(service)[1]
        os.kill(pid, signal.SIGKILL)
        service._until(lambda: pids(service)[1] != pid)
        service.wait_ready()
        assert [{each["name"] for each in _status(service)} for _ in range(6)] == names
        _regions_are_usable(service, left, right)
        with http_client.InferenceServerClient(f"127.0.0.1:{service.client.port}") as client:
            client.unregister_system_shared_memory("input")
            assert [{each["name"] for each in _status(service)} for _ in range(6)] == [{"output"}] * 6
            client.unregister_system_shared_memory()
    assert [_status(service) for _ in range(6)] == [[]] * 6


def _status(service: Service) -> Any:
    return service.client.get("/v2/systemsharedmemory/status")[1]


def test_requests_continue_while_a_killed_worker_is_restarted(service: Service) -> None:
    clients = Clients(service, 6)
    try:
        clients.wait_for_more(10)
        counted = service.client.metric("wasm_service_requests_total")
        restarts = service.client.metric("wasm_service_worker_restarts_total")
        pid = pids(service)[2]
        os.kill(pid, signal.SIGKILL)
        clients.wait_for_more(10)  # also of those whose connection was reset
        assert service.client.metric("wasm_service_requests_total") >= counted
        service._until(lambda: pids(service)[2] != pid)
        service.wait_ready()
        clients.wait_for_more(10)
    finally:
        clients.stop()
    assert clients.failures == []
    assert max(clients.resets) <= 1
    assert service.client.metric("wasm_service_worker_restarts_total") == restarts + 1
    assert "worker 2 ended with signal 9" in service.text()

    def both_serve() -> bool:  # the new one listens a little later than it is ready
        service.client.send(INFER, body(1.0))
        return serving_workers(service, 10) == {1, 2}

    service._until(both_serve)


def test_a_worker_that_does_not_respond_delays_metrics_only(service: Service) -> None:
    before = service.client.metric("wasm_service_requests_total")
    pid = pids(service)[1]
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(10):  # it does not accept connections
            assert service.client.send(INFER, body(1.0))[0] == 200
        assert service.client.metric("wasm_service_requests_total") == before + 10
    finally:
        os.kill(pid, signal.SIGCONT)
    assert service.client.metric("wasm_service_requests_total") == before + 10
