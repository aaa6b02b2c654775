"""Stopping: what was accepted is answered in full, clients are told, and nothing waits for nothing."""

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
    """Clients that ask as fast as they are answered (every other one thinks in between), until they are told that the
    service goes. `lost` says which of their requests did not get what they should."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.lost: list[str] = []
        self.answered = self.told = 0
        self.stopping = False
        self._lock = threading.Lock()
        clients = [threading.Thread(target=self._ask_http, args=[number]) for number in range(CLIENTS)]
        clients += [threading.Thread(target=self._ask_grpc, args=[number]) for number in range(GRPC_CLIENTS)]
        self._threads = clients

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    def _ask_http(self, number: int) -> None:
        thinks = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", self.service.client.port, timeout=PATIENCE_S)
        value = float(number)
        while True:
            try:
                connection.request("POST", INFER, body(value))
                answer = connection.getresponse()
                found = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError) as problem:
                self.lost.append(f"HTTP client {number}: {problem!r}")
                return
            if answer.status != 200 or found["outputs"][0]["data"] != [value + 1]:
                self.lost.append(f"HTTP client {number}: {answer.status} {found}")
                return
            last = answer.getheader("connection") == "close"
            self._count(last)
            if last:
                return
            if number % 2:
                time.sleep(thinks.uniform(0, 0.05))

    def _ask_grpc(self, number: int) -> None:
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{self.service.client.grpc_port}") as client:
            tensor = tritonclient.grpc.InferInput("x", [1, 1], "FP32")
            tensor.set_data_from_numpy(np.array([[number]], np.float32))
            while True:
                try:
                    found = client.infer("slow", [tensor], client_timeout=PATIENCE_S).as_numpy("y")
                except InferenceServerException as refusal:
                    # that it was not taken is what UNAVAILABLE says; any other end is a loss
                    if not (self.stopping and refusal.status() == "StatusCode.UNAVAILABLE"):
                        self.lost.append(f"gRPC client {number}: {refusal}")
                    return
                if found is None or found.tolist() != [[number + 1]]:
                    self.lost.append(f"gRPC client {number}: {found}")
                self._count(False)

    def _count(self, last: bool) -> None:
        with self._lock:
            self.answered += 1
            self.told += last


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_mid_load_loses_no_request(tmp_path: Path, number: signal.Signals) -> None:
    # each client has to ask once more within the linger, however busy the machine is
    with running(tmp_path, write_modules(tmp_path, slow=SLOW), drain_s=5) as service:
        service.wait_ready()
        load = Load(service)
        load.start()
        while load.answered < 3 * (CLIENTS + GRPC_CLIENTS):
            assert not load.lost and service.process.poll() is None, (load.lost, service.text())
            time.sleep(0.01)
        load.stopping = True
        service.process.send_signal(number)
        load.join()
        assert service.end() == 0, service.text()
    assert load.lost == []
    assert load.told == CLIENTS
    assert "Traceback" not in service.text()


def ask_without_a_pause(port: int, lost: list[str], stop: threading.Event) -> None:
    """Ask again and again, on a new connection after each that was told to end, until nobody listens any more."""
    while not stop.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            try:
                connection.connect()
            except ConnectionRefusedError:
                return
            except OSError as problem:
                lost.append(f"connecting: {problem!r}")
                return
            last = False
            while not last:
                try:
                    connection.request("POST", "/v1/models/quick/infer", body(1))
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, http.client.HTTPException) as problem:
                    lost.append(repr(problem))
                    return
                last = answer.getheader("connection") == "close"


@pytest.mark.parametrize("drain_s", [0, 0.5])
def test_clients_that_never_pause_and_connect_again_see_no_reset(tmp_path: Path, drain_s: float) -> None:
    quick = '(module (func (export "quick") (param $x f32) (result f32) (local.get $x)))'
    lost: list[str] = []
    stop = threading.Event()
    with running(tmp_path, write_modules(tmp_path, quick=quick), drain_s=drain_s) as service:
        service.wait_ready()
        clients = [
            threading.Thread(target=ask_without_a_pause, args=[service.client.port, lost, stop]) for _ in range(80)
        ]
        for client in clients:
            client.start()
        time.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        assert service.end() == 0, service.text()
        for client in clients:
            client.join(PATIENCE_S)
        stop.set()
    assert lost == []


@pytest.mark.parametrize("sent", [b"", b"GET /v1/health/live HTTP/1.1\r\nHost: x\r\nX-A"])
def test_clients_that_send_nothing_more_do_not_keep_it_from_ending(tmp_path: Path, sent: bytes) -> None:
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
def kept(service: Service) -> Iterator[http.client.HTTPConnection]:
    """A connection that has had an answer and stays open."""
    connection = http.client.HTTPConnection("127.0.0.1", service.client.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("GET", "/v1/health/live")
        assert connection.getresponse().read()
        yield connection


def ask(service: Service, method: str, path: str, data: bytes | None = None) -> tuple[int, str | None, Any]:
    """Status, Connection header and body of a request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", service.client.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(method, path, data)
        answer = connection.getresponse()
        return answer.status, answer.getheader("connection"), json.loads(answer.read())


def stop(service: Service) -> None:
    """Send SIGTERM, and wait until it is heeded."""
    service.process.send_signal(signal.SIGTERM)
    service.wait_for_line("stopping: ")


def test_while_it_lingers_it_is_not_ready_but_answers_and_says_that_the_connection_ends(tmp_path: Path) -> None:
    with running(tmp_path, write_modules(tmp_path, slow=SLOW), drain_s=600) as service:
        service.wait_ready()
        with kept(service) as connection:
            stop(service)
            status, last, told = ask(service, "GET", "/v1/health/ready")
            assert (status, last) == (503, "close")
            assert told["error"]["message"] == "Service is not ready: it is stopping"
            assert ask(service, "GET", "/v1/health/live")[:2] == (200, "close")
            assert ask(service, "POST", INFER, body(1))[:2] == (200, "close")
            connection.request("POST", INFER, body(2))
            answer = connection.getresponse()
            assert (answer.status, answer.getheader("connection")) == (200, "close")
            assert json.loads(answer.read())["outputs"][0]["data"] == [3.0]
        # nobody is connected any more: the rest of the linger is not waited for
        assert service.end() == 0, service.text()


def test_without_a_connection_it_ends_without_a_linger(tmp_path: Path) -> None:
    with running(tmp_path, write_modules(tmp_path, slow=SLOW), drain_s=600) as service:
        service.wait_ready()
        service.process.send_signal(signal.SIGTERM)
        assert service.end() == 0, service.text()


def test_a_request_whose_body_is_still_on_its_way_is_read_and_answered(tmp_path: Path) -> None:
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
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.getheader("connection")) == (200, "close")
            assert json.loads(answer.read())["outputs"][0]["data"] == [5.0]
        assert service.end() == 0, service.text()


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    models = [{**model, "limits": {"timeout_s": 600}} for model in write_modules(tmp_path, spin=SPIN)]
    (tmp_path / "spin.wasm").rename(tmp_path / "endless.wasm")
    models = [*write_modules(tmp_path, slow=SLOW), {**models[0], "file": "endless.wasm"}]
    with running(tmp_path, models, drain_s=600) as service:
        # "spin" never answers its first request, and so the service never is ready
        service.wait_for_line("model 'slow' is ready")
        with kept(service):
            stop(service)
            service.process.send_signal(signal.SIGTERM)
            assert service.end() == 128 + signal.SIGTERM


def test_a_signal_while_it_starts_ends_it_well(tmp_path: Path) -> None:
    models = [{**model, "limits": {"timeout_s": 600}} for model in write_modules(tmp_path, spin=SPIN)]
    with running(tmp_path, models) as service:
        service.wait_for_line("Started server process")
        service.process.send_signal(signal.SIGTERM)
        assert service.end() == 0, service.text()
        assert "Traceback" not in service.text()
