"""Stopping: accepted requests are completed, clients are notified, and the service does not wait needlessly."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from tests.running.waiting import PATIENCE_S

from .process import SLOW, SPIN, Service, body, running, write_modules

pytestmark = pytest.mark.service

CLIENTS, GRPC_CLIENTS = 16, 4
INFER = "/v1/models/slow/infer"


class Load:
    """Clients that send requests continuously until a response closes their connection. Every second one pauses in
    between. `failures` describes the requests without the expected response."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.failures: list[str] = []
        self.responses = self.closed = 0
        self.stopping = False
        self._lock = threading.Lock()
        clients = [threading.Thread(target=self._send_http, args=[number]) for number in range(CLIENTS)]
        clients += [threading.Thread(target=self._send_grpc, args=[number]) for number in range(GRPC_CLIENTS)]
        self._threads = clients

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    def _send_http(self, number: int) -> None:
        pauses = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", self.service.client.port, timeout=PATIENCE_S)
        value = float(number)
        while True:
            try:
                connection.request("POST", INFER, body(value))
                response = connection.getresponse()
                result = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failures.append(f"HTTP client {number}: {error!r}")
                return
            if response.status != 200 or result["outputs"][0]["data"] != [value + 1]:
                self.failures.append(f"HTTP client {number}: {response.status} {result}")
                return
            last = response.getheader("connection") == "close"
            self._count(last)
            if last:
                return
            if number % 2:
                time.sleep(pauses.uniform(0, 0.05))

    def _send_grpc(self, number: int) -> None:
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{self.service.client.grpc_port}") as client:
            tensor = tritonclient.grpc.InferInput("x", [1, 1], "FP32")
            tensor.set_data_from_numpy(np.array([[number]], np.float32))
            while True:
                try:
                    result = client.infer("slow", [tensor], client_timeout=PATIENCE_S).as_numpy("y")
                except InferenceServerException as error:
                    # UNAVAILABLE means that the request was not accepted; any other error is a lost request
                    if not (self.stopping and error.status() == "StatusCode.UNAVAILABLE"):
                        self.failures.append(f"gRPC client {number}: {error}")
                    return
                if result is None or result.tolist() != [[number + 1]]:
                    self.failures.append(f"gRPC client {number}: {result}")
                self._count(False)

    def _count(self, last: bool) -> None:
        with self._lock:
            self.responses += 1
            self.closed += last


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_no_request(tmp_path: Path, number: signal.Signals) -> None:
    # each client must send one more request while the service drains, even on a busy machine
    with running(tmp_path, write_modules(tmp_path, slow=SLOW), drain_s=5) as service:
        service.wait_ready()
        load = Load(service)
        load.start()
        while load.responses < 3 * (CLIENTS + GRPC_CLIENTS):
            assert not load.failures and service.process.poll() is None, (load.failures, service.text())
            time.sleep(0.01)
        load.stopping = True
        service.process.send_signal(number)
        load.join()
        assert service.end() == 0, service.text()
    assert load.failures == []
    assert load.closed == CLIENTS
    assert "Traceback" not in service.text()


def send_continuously(port: int, failures: list[str], stop: threading.Event) -> None:
    """Send requests, each time on a new connection after a response that closes it, until the port is closed."""
    while not stop.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            try:
                connection.connect()
            except ConnectionRefusedError:
                return
            except OSError as error:
                failures.append(f"connecting: {error!r}")
                return
            last = False
            while not last:
                try:
                    connection.request("POST", "/v1/models/quick/infer", body(1))
                    response = connection.getresponse()
                    response.read()
                except (OSError, http.client.HTTPException) as error:
                    failures.append(repr(error))
                    return
                last = response.getheader("connection") == "close"


@pytest.mark.parametrize("drain_s", [0, 0.5])
def test_clients_that_send_and_reconnect_continuously_see_no_reset(tmp_path: Path, drain_s: float) -> None:
    quick = '(module (func (export "quick") (param $x f32) (result f32) (local.get $x)))'
    failures: list[str] = []
    stop = threading.Event()
    with running(tmp_path, write_modules(tmp_path, quick=quick), drain_s=drain_s) as service:
        service.wait_ready()
        clients = [
            threading.Thread(target=send_continuously, args=[service.client.port, failures, stop]) for _ in range(80)
        ]
        for client in clients:
            client.start()
        time.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        assert service.end() == 0, service.text()
        for client in clients:
            client.join(PATIENCE_S)
        stop.set()
    assert failures == []


@pytest.mark.parametrize("sent", [b"", b"GET /v1/health/live HTTP/1.1\r\nHost: x\r\nX-A"])
def test_clients_that_stop_sending_do_not_keep_the_service_from_ending(tmp_path: Path, sent: bytes) -> None:
    quick = '(module (func (export "quick") (param $x f32) (result f32) (local.get $x)))'
    with running(tmp_path, write_modules(tmp_path, quick=quick), drain_s=0, header_timeout_s=1) as service:
        service.wait_ready()
        with contextlib.ExitStack() as stack:
            for _ in range(10):
                address = ("127.0.0.1", service.client.port)
                stack.enter_context(socket.create_connection(address, timeout=PATIENCE_S)).sendall(sent)
            service.process.send_signal(signal.SIGTERM)
            assert service.end() == 0, service.text()


@contextlib.contextmanager
def idle_connection(service: Service) -> Iterator[http.client.HTTPConnection]:
    """An open connection on which one response has been received."""
    connection = http.client.HTTPConnection("127.0.0.1", service.client.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("GET", "/v1/health/live")
        assert connection.getresponse().read()
        yield connection


def send_request(service: Service, method: str, path: str, data: bytes | None = None) -> tuple[int, str | None, Any]:
    """Status, Connection header and body of the response to a request on a new connection."""
    connection = http.client.HTTPConnection("127.0.0.1", service.client.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(method, path, data)
        response = connection.getresponse()
        return response.status, response.getheader("connection"), json.loads(response.read())


def stop(service: Service) -> None:
    """Send SIGTERM, and wait until the service has logged that it stops."""
    service.process.send_signal(signal.SIGTERM)
    service.wait_for_line("stopping: ")


def test_while_draining_it_is_not_ready_but_serves_requests_and_closes_their_connections(tmp_path: Path) -> None:
    with running(tmp_path, write_modules(tmp_path, slow=SLOW), drain_s=600) as service:
        service.wait_ready()
        with idle_connection(service) as connection:
            stop(service)
            status, last, document = send_request(service, "GET", "/v1/health/ready")
            assert (status, last) == (503, "close")
            assert document["error"]["message"] == "Service is not ready: it is stopping"
            assert send_request(service, "GET", "/v1/health/live")[:2] == (200, "close")
            assert send_request(service, "POST", INFER, body(1))[:2] == (200, "close")
            connection.request("POST", INFER, body(2))
            response = connection.getresponse()
            assert (response.status, response.getheader("connection")) == (200, "close")
            assert json.loads(response.read())["outputs"][0]["data"] == [3.0]
        # no connection is left, so the service does not wait for the rest of `drain_s`
        assert service.end() == 0, service.text()


def test_without_a_connection_it_ends_without_waiting(tmp_path: Path) -> None:
    with running(tmp_path, write_modules(tmp_path, slow=SLOW), drain_s=600) as service:
        service.wait_ready()
        service.process.send_signal(signal.SIGTERM)
        assert service.end() == 0, service.text()


def test_a_request_whose_body_is_incomplete_is_received_and_served(tmp_path: Path) -> None:
    data = body(4)
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    with running(tmp_path, write_modules(tmp_path, slow=SLOW), drain_s=0.2) as service:
        service.wait_ready()
        with socket.create_connection(("127.0.0.1", service.client.port), timeout=PATIENCE_S) as connection:
            connection.sendall(head + data[:10])
            stop(service)
            service.wait_for_line("Waiting for connections to close")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", service.client.port), timeout=PATIENCE_S)
            connection.sendall(data[10:])
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert (response.status, response.getheader("connection")) == (200, "close")
            assert json.loads(response.read())["outputs"][0]["data"] == [5.0]
        assert service.end() == 0, service.text()


def test_a_second_signal_ends_it_immediately(tmp_path: Path) -> None:
    models = [{**model, "limits": {"timeout_s": 600}} for model in write_modules(tmp_path, spin=SPIN)]
    (tmp_path / "spin.wasm").rename(tmp_path / "endless.wasm")
    models = [*write_modules(tmp_path, slow=SLOW), {**models[0], "file": "endless.wasm"}]
    with running(tmp_path, models, drain_s=600) as service:
        # "spin" never completes its warm-up request, so the service never becomes ready
        service.wait_for_line("model 'slow' is ready")
        with idle_connection(service):
            stop(service)
            service.process.send_signal(signal.SIGTERM)
            assert service.end() == 128 + signal.SIGTERM


def test_a_signal_during_startup_ends_it_without_an_error(tmp_path: Path) -> None:
    models = [{**model, "limits": {"timeout_s": 600}} for model in write_modules(tmp_path, spin=SPIN)]
    with running(tmp_path, models) as service:
        service.wait_for_line("Started server process")
        service.process.send_signal(signal.SIGTERM)
        assert service.end() == 0, service.text()
        assert "Traceback" not in service.text()
