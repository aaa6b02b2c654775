"""Clients that are slow, leave, or send more than they may, over real sockets; and many at a time."""

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
from tests.nim.service.serving import Client, serving
from tests.running import waiting

pytestmark = pytest.mark.service

LIMIT = 100_000
# doubles its input; a negative number traps
WORK = """(module (func (export "work") (param $x f32) (result f32)
  (if (f32.lt (local.get $x) (f32.const 0)) (then unreachable))
  (f32.mul (local.get $x) (f32.const 2))))"""
LEFT = 'wasm_service_requests_total{code="499"'
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
def hasty(folder: Path) -> Iterator[Client]:
    """A service that does not wait for bodies."""
    with serving(folder, MODELS, body_timeout_s=0.3) as client:
        client.wait_ready()
        yield client


def body(*values: float) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, len(values)], "data": values}
    return json.dumps({"inputs": [tensor]}).encode()


def head(path: str, length: int, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {length}", *more, "", ""]
    return "\r\n".join(lines).encode()


def hold(monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> threading.Event:
    """Keep what models run from now on busy until the event is set, which the end of `stack` does too."""
    go, run_batch = threading.Event(), Program.run_batch

    def run_when_let(program: Program, *requests: Any, **options: Any) -> Any:
        assert go.wait(waiting.PATIENCE_S)
        return run_batch(program, *requests, **options)

    monkeypatch.setattr(Program, "run_batch", run_when_let)
    stack.callback(go.set)
    return go


def connected(client: Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.port), timeout=waiting.PATIENCE_S)


def everything(connection: socket.socket) -> bytes:
    """What comes until the service closes the connection."""
    found = b""
    while chunk := connection.recv(1 << 16):
        found += chunk
    return found


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sent", [b"", b"{"])
def test_a_body_that_does_not_come_is_408_and_the_connection_ends(hasty: Client, path: str, sent: bytes) -> None:
    with connected(hasty) as connection:
        connection.sendall(head(path, 50) + sent)
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"connection: close" in answer.lower()
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert "not complete after 0.3 s" in (error if path.startswith("/v2") else error["message"])
    assert hasty.get("/v1/health/live")[0] == 200


def test_a_body_in_small_pieces_is_read_while_it_comes_in_time(client: Client) -> None:
    whole = body(1, 2)
    with connected(client) as connection:
        connection.sendall(head(PATHS[0], len(whole), "Connection: close"))
        for at in range(0, len(whole), 40):
            connection.sendall(whole[at : at + 40])
            time.sleep(0.005)
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 200 ") and json.loads(answer.partition(b"\r\n\r\n")[2])


def test_slow_clients_hinder_no_others(client: Client) -> None:
    before = client.metric(LEFT)
    slow = [connected(client) for _ in range(50)]
    for connection in slow:
        connection.sendall(head(PATHS[1], 50))
    assert client.send(PATHS[1], body(1))[0] == 200
    for connection in slow:
        connection.close()
    waiting.until(lambda: client.metric(LEFT) == before + 50)  # the next test counts its own


def test_slow_clients_are_all_sent_away(hasty: Client) -> None:
    slow = [connected(hasty) for _ in range(50)]
    for connection in slow:
        connection.sendall(head(PATHS[1], 50))
    for connection in slow:
        assert b" 408 " in connection.recv(64)
        connection.close()


def test_a_client_that_leaves_in_its_body_frees_everything(client: Client) -> None:
    before = client.metric(LEFT)
    for _ in range(5):
        with connected(client) as connection:
            connection.sendall(head(PATHS[0], 5000) + b"{")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # with a reset
    waiting.until(lambda: client.metric(LEFT) == before + 5)
    assert client.metric("wasm_service_active_requests") == 0
    assert client.send(PATHS[0], body(1))[0] == 200


def test_a_client_that_leaves_while_it_waits_is_dropped_from_the_queue(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(folder, MODELS, workers=1) as client, ThreadPoolExecutor(1) as threads, ExitStack() as stack:
        client.wait_ready()
        go = hold(monkeypatch, stack)
        running = threads.submit(client.send, PATHS[0], body(1))
        waiting.until(lambda: client.metric("wasm_service_batch_requests_count") == 1)
        with connected(client) as connection:
            whole = body(1)
            connection.sendall(head(PATHS[1], len(whole)) + whole)
            waiting.until(lambda: client.metric("wasm_service_queue_requests") == 1)
        waiting.until(lambda: client.metric("wasm_service_queue_requests") == 0)
        go.set()
        assert running.result()[0] == 200
        waiting.until(lambda: client.metric(LEFT) == 1)
        waiting.until(lambda: client.metric("wasm_service_active_requests") == 0)
        assert client.metric("wasm_service_batch_requests_sum") == 1, "it was never run"


@pytest.mark.parametrize("path", PATHS)
def test_too_large_is_413_in_the_form_of_the_api(client: Client, path: str) -> None:
    status, told = client.send(path, b" " * (LIMIT + 1))
    assert status == 413
    text = told["error"] if path.startswith("/v2") else told["error"]["message"]
    assert text == f"the request is larger than {LIMIT} bytes, the limit"


def compressed(client: Client, encoding: str, content: bytes) -> tuple[int, Any]:
    with connected(client) as connection:
        more = (f"Content-Encoding: {encoding}", "Connection: close")
        connection.sendall(head(PATHS[1], len(content), *more) + content)
        answer = everything(connection)
    status, _, rest = answer.partition(b"\r\n\r\n")
    return int(status.split()[1]), json.loads(rest)


@pytest.mark.parametrize("encoding", ["gzip", "X-GZip", "deflate"])
def test_a_compressed_body_is_read_within_the_same_limit(client: Client, encoding: str) -> None:
    pack: Any = zlib.compress if encoding == "deflate" else gzip.compress
    assert compressed(client, encoding, pack(body(1)))[0] == 200
    status, told = compressed(client, encoding, pack(bytes(50_000_000)))
    assert (status, told["error"]) == (413, f"the request is larger than {LIMIT} bytes, the limit")
    for broken in (pack(body(1))[:-3], pack(body(1)) + b"x", b"", b"\0" * 20):
        status, told = compressed(client, encoding, broken)
        assert status == 400 and f"Content-Encoding {encoding.lower().removeprefix('x-')}" in told["error"]


def test_an_unknown_content_encoding_is_415(client: Client) -> None:
    status, told = compressed(client, "br", body(1))
    assert status == 415 and "use gzip, deflate or none" in told["error"]
    assert compressed(client, "identity", body(1))[0] == 200


def test_many_at_a_time_are_run_together_and_each_gets_its_own_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(folder, MODELS, workers=1) as client:
        client.wait_ready()

        def some(first: int) -> list[tuple[int, Any]]:
            values = [-1.0 if i % 10 == 3 else float(i) for i in range(first, first + 25)]
            return [
                (status, told) for status, told in (client.send(PATHS[i % 2], body(v)) for i, v in enumerate(values))
            ]

        with ThreadPoolExecutor(20) as threads, ExitStack() as stack:
            go = hold(monkeypatch, stack)
            asked = threads.map(some, range(0, 500, 25))
            # while the first runs, the others come
            waiting.until(lambda: client.metric('wasm_service_queue_requests{model="work"}') >= 10)
            go.set()
            answers = list(asked)
        for first, own in zip(range(0, 500, 25), answers, strict=True):
            for i, (status, told) in enumerate(own, first):
                if i % 10 == 3:
                    assert status == 500 and "unreachable" in str(told["error"])
                else:
                    assert status == 200, told
                    assert told["outputs"][0]["data"] == [2.0 * i]
        batches = client.metric('wasm_service_batch_requests_count{model="work"}')
        assert client.metric('wasm_service_batch_requests_sum{model="work"}') == 500
        assert batches < 500, "some were run together"
        assert client.metric('wasm_service_traps_total{model="work"}') == 50


def test_a_full_queue_is_429_and_the_rest_are_answered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(folder, MODELS, workers=1, max_queued_requests=3) as client:
        client.wait_ready()
        with ThreadPoolExecutor(8) as threads, ExitStack() as stack:
            go = hold(monkeypatch, stack)
            first = threads.submit(client.send, PATHS[0], body(1))
            waiting.until(lambda: client.metric('wasm_service_batch_requests_count{model="work"}') == 1)
            queued = [threads.submit(client.send, PATHS[i % 2], body(i)) for i in range(3)]
            waiting.until(lambda: client.metric('wasm_service_queue_requests{model="work"}') == 3)
            with connected(client) as connection:
                whole = body(1)
                connection.sendall(head(PATHS[1], len(whole), "Connection: close") + whole)
                refusal = everything(connection)
            assert client.send(PATHS[0], body(1))[0] == 429
            go.set()
            assert first.result()[0] == 200
            assert [each.result()[1]["outputs"][0]["data"] for each in queued] == [[0], [2], [4]]
    assert refusal.startswith(b"HTTP/1.1 429 ") and b"\r\nretry-after: 1\r\n" in refusal
    told = json.loads(refusal.partition(b"\r\n\r\n")[2])
    assert told["error"] == "model 'work' has 3 requests waiting, its limit; try again later"
