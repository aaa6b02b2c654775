"""Clients that are slow, disconnect or send too much, and concurrent clients, over real sockets."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from portalis.backend import Program
from portalis.nim.service.scheduling import Scheduler
from tests.nim.service.serving import Client, serving
from tests.running import waiting

pytestmark = pytest.mark.service

LIMIT = 100_000
# doubles its input; a negative number traps
WORK = """(module (func (export "work") (param $x f32) (result f32)
  (if (f32.lt (local.get $x) (f32.const 0)) (then unreachable))
  (f32.mul (local.get $x) (f32.const 2))))"""
DISCONNECTED = 'wasm_service_requests_total{code="499"'
PATHS = ("/v1/models/work/infer", "/v2/models/work/infer")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "work.wasm").write_bytes(wasmtime.wat2wasm(WORK))
    return folder


MODELS: list[dict[str, Any]] = [{"name": "work", "file": "work.wasm", "limits": {"timeout_s": waiting.PATIENCE_S}}]


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Client]:
    with serving(folder, MODELS, max_request_bytes=LIMIT, max_queued_requests=4) as client:
        client.wait_ready()
        yield client


@pytest.fixture(scope="module")
def impatient(folder: Path) -> Iterator[Client]:
    """A service with a short timeout for bodies."""
    with serving(folder, MODELS, body_timeout_s=0.3) as client:
        client.wait_ready()
        yield client


def body(*values: float) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, len(values)], "data": values}
    return json.dumps({"inputs": [tensor]}).encode()


def head(path: str, length: int, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {length}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def block_models(monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> threading.Event:
    """Block every batch that starts from now on until the returned event is set; the end of `stack` sets it too."""
    release, run_batch = threading.Event(), Program.run_batch

    def run_when_let(program: Program, *requests: Any, **options: Any) -> Any:
        assert release.wait(waiting.PATIENCE_S)
        return run_batch(program, *requests, **options)

    monkeypatch.setattr(Program, "run_batch", run_when_let)
    # on the event loop, a guest would be interrupted, and this cannot
    monkeypatch.setattr(Scheduler, "try_run", lambda *_, **__: None)
    stack.callback(release.set)
    return release


def connected(client: Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.port), timeout=waiting.PATIENCE_S)


def read_all(connection: socket.socket) -> bytes:
    """Everything that is received until the service closes the connection."""
    received = b""
    while chunk := connection.recv(1 << 16):
        received += chunk
    return received


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sent", [b"", b"{"])
def test_an_incomplete_body_is_408_and_closes_the_connection(impatient: Client, path: str, sent: bytes) -> None:
    with connected(impatient) as connection:
        connection.sendall(head(path, 50) + sent)
        response = read_all(connection)
    assert response.startswith(b"HTTP/1.1 408 ") and b"connection: close" in response.lower()
    error = json.loads(response.partition(b"\r\n\r\n")[2])["error"]
    assert "not complete after 0.3 s" in (error if path.startswith("/v2") else error["message"])
    assert impatient.get("/v1/health/live")[0] == 200


def test_a_body_in_small_chunks_is_accepted_within_the_time_limit(client: Client) -> None:
    whole = body(1, 2)
    with connected(client) as connection:
        connection.sendall(head(PATHS[0], len(whole), "Connection: close"))
        for offset in range(0, len(whole), 40):
            connection.sendall(whole[offset : offset + 40])
            time.sleep(0.005)
        response = read_all(connection)
    assert response.startswith(b"HTTP/1.1 200 ") and json.loads(response.partition(b"\r\n\r\n")[2])


def test_slow_clients_do_not_delay_others(client: Client) -> None:
    before = client.metric(DISCONNECTED)
    slow = [connected(client) for _ in range(50)]
    for connection in slow:
        connection.sendall(head(PATHS[1], 50))
    assert client.send(PATHS[1], body(1))[0] == 200
    for connection in slow:
        connection.close()
    waiting.until(lambda: client.metric(DISCONNECTED) == before + 50)  # the next test counts from a stable value


def test_every_slow_client_is_rejected(impatient: Client) -> None:
    slow = [connected(impatient) for _ in range(50)]
    for connection in slow:
        connection.sendall(head(PATHS[1], 50))
    for connection in slow:
        assert b" 408 " in connection.recv(64)
        connection.close()


def test_a_client_that_disconnects_during_its_body_leaves_no_resources(client: Client) -> None:
    before = client.metric(DISCONNECTED)
    for _ in range(5):
        with connected(client) as connection:
            connection.sendall(head(PATHS[0], 5000) + b"{")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
    waiting.until(lambda: client.metric(DISCONNECTED) == before + 5)
    assert client.metric("wasm_service_active_requests") == 0
    assert client.send(PATHS[0], body(1))[0] == 200


def test_a_queued_request_is_removed_if_its_client_disconnects(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(folder, MODELS, workers=1) as client, ThreadPoolExecutor(1) as threads, ExitStack() as stack:
        client.wait_ready()
        release = block_models(monkeypatch, stack)
        running = threads.submit(client.send, PATHS[0], body(1))
        waiting.until(lambda: client.metric("wasm_service_batch_requests_count") == 1)
        with connected(client) as connection:
            whole = body(1)
            connection.sendall(head(PATHS[1], len(whole)) + whole)
            waiting.until(lambda: client.metric("wasm_service_queue_requests") == 1)
        waiting.until(lambda: client.metric("wasm_service_queue_requests") == 0)
        release.set()
        assert running.result()[0] == 200
        waiting.until(lambda: client.metric(DISCONNECTED) == 1)
        waiting.until(lambda: client.metric("wasm_service_active_requests") == 0)
        assert client.metric("wasm_service_batch_requests_sum") == 1, "the request was never run"


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_too_large_is_413_in_the_format_of_the_api(client: Client, path: str) -> None:
    status, document = client.send(path, b" " * (LIMIT + 1))
    assert status == 413
    text = document["error"] if path.startswith("/v2") else document["error"]["message"]
    assert text == f"the request exceeds the limit of {LIMIT} bytes"


def compressed(client: Client, encoding: str, content: bytes) -> tuple[int, Any]:
    with connected(client) as connection:
        headers = (f"Content-Encoding: {encoding}", "Connection: close")
        connection.sendall(head(PATHS[1], len(content), *headers) + content)
        response = read_all(connection)
    status, _, rest = response.partition(b"\r\n\r\n")
    return int(status.split()[1]), json.loads(rest)


@pytest.mark.parametrize("encoding", ["gzip", "X-GZip", "deflate"])
def test_the_size_limit_applies_to_the_decompressed_body(client: Client, encoding: str) -> None:
    compress: Any = zlib.compress if encoding == "deflate" else gzip.compress
    assert compressed(client, encoding, compress(body(1)))[0] == 200
    status, document = compressed(client, encoding, compress(bytes(50_000_000)))
    assert (status, document["error"]) == (413, f"the request exceeds the limit of {LIMIT} bytes")
    for broken in (compress(body(1))[:-3], compress(body(1)) + b"x", b"", b"\0" * 20):
        status, document = compressed(client, encoding, broken)
        assert status == 400 and f"Content-Encoding {encoding.lower().removeprefix('x-')}" in document["error"]


def test_an_unknown_content_encoding_is_not_implemented(client: Client) -> None:
    status, document = compressed(client, "br", body(1))
    assert status == 501 and "use gzip, deflate or none" in document["error"]
    assert compressed(client, "identity", body(1))[0] == 200


def test_concurrent_requests_are_batched_and_each_gets_its_own_response(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(folder, MODELS, workers=1) as client:
        client.wait_ready()

        def send_requests(first: int) -> list[tuple[int, Any]]:
            values = [-1.0 if i % 10 == 3 else float(i) for i in range(first, first + 25)]
            return [
                (status, document)
                for status, document in (client.send(PATHS[i % 2], body(v)) for i, v in enumerate(values))
            ]

        with ThreadPoolExecutor(20) as threads, ExitStack() as stack:
            release = block_models(monkeypatch, stack)
            results = threads.map(send_requests, range(0, 500, 25))
            # the other requests arrive while the first batch runs
            waiting.until(lambda: client.metric('wasm_service_queue_requests{model="work"}') >= 10)
            release.set()
            responses = list(results)
        for first, received in zip(range(0, 500, 25), responses, strict=True):
            for i, (status, document) in enumerate(received, first):
                if i % 10 == 3:
                    assert status == 500 and "unreachable" in str(document["error"])
                else:
                    assert status == 200, document
                    assert document["outputs"][0]["data"] == [2.0 * i]
        batches = client.metric('wasm_service_batch_requests_count{model="work"}')
        assert client.metric('wasm_service_batch_requests_sum{model="work"}') == 500
        assert batches < 500, "no requests were batched"
        assert client.metric('wasm_service_traps_total{model="work"}') == 50


def test_a_full_queue_is_429_and_queued_requests_complete(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(folder, MODELS, workers=1, max_queued_requests=3) as client:
        client.wait_ready()
        with ThreadPoolExecutor(8) as threads, ExitStack() as stack:
            release = block_models(monkeypatch, stack)
            first = threads.submit(client.send, PATHS[0], body(1))
            waiting.until(lambda: client.metric('wasm_service_batch_requests_count{model="work"}') == 1)
            queued = [threads.submit(client.send, PATHS[i % 2], body(i)) for i in range(3)]
            waiting.until(lambda: client.metric('wasm_service_queue_requests{model="work"}') == 3)
            with connected(client) as connection:
                whole = body(1)
                connection.sendall(head(PATHS[1], len(whole), "Connection: close") + whole)
                rejection = read_all(connection)
            assert client.send(PATHS[0], body(1))[0] == 429
            release.set()
            assert first.result()[0] == 200
            assert [each.result()[1]["outputs"][0]["data"] for each in queued] == [[0], [2], [4]]
    assert rejection.startswith(b"HTTP/1.1 429 ") and b"\r\nretry-after: 1\r\n" in rejection
    document = json.loads(rejection.partition(b"\r\n\r\n")[2])
    assert document["error"] == "model 'work' has 3 waiting requests, its limit; retry later"
