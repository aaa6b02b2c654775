"""Connections that are too many, too slow or too large: whatever they do, health and others are answered."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import wasmtime

from portalis.nim.service import admission
from portalis.nim.service.http.connections import MAX_PIPELINED
from tests.nim.service.serving import Client, serving
from tests.running import waiting

pytestmark = pytest.mark.service

MOST, HEADERS = 12, 2048
ADD = """(module (func (export "add") (param $x f32) (result f32) (f32.add (local.get $x) (f32.const 1))))"""
INFER = "/v1/models/add/infer"
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}]}).encode()
LIVE = b"GET /v1/health/live HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    patient = {"header_timeout_s": waiting.PATIENCE_S, "body_timeout_s": waiting.PATIENCE_S}
    yield from served(tmp_path_factory.mktemp("modules"), patient)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service that does not wait for headers."""
    yield from served(tmp_path_factory.mktemp("modules"), {"header_timeout_s": 1})


def served(folder: Path, times: dict[str, float]) -> Iterator[Client]:
    (folder / "add.wasm").write_bytes(wasmtime.wat2wasm(ADD))
    limits = {"max_connections": MOST, "max_header_bytes": HEADERS, **times}
    with serving(folder, [{"name": "add", "file": "add.wasm"}], **limits) as client:
        client.wait_ready()
        yield client


@pytest.fixture(autouse=True)
def others_are_answered(request: pytest.FixtureRequest) -> Iterator[None]:
    client: Client = request.getfixturevalue("hasty" if "hasty" in request.fixturenames else "client")
    yield
    assert client.send(INFER, BODY)[1]["outputs"][0]["data"] == [2.0]


def connected(client: Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.port), timeout=waiting.PATIENCE_S)


def everything(connection: socket.socket) -> bytes:
    """What comes until the service ends the connection."""
    found = b""
    try:
        while chunk := connection.recv(1 << 16):
            found += chunk
    except ConnectionError:
        pass
    return found


def answers_to(client: Client, sent: bytes, then: bytes = b"") -> bytes:
    """All that is answered to `sent` on one connection, which is closed by the service."""
    with connected(client) as connection:
        connection.sendall(sent)
        try:
            for _ in range(200 if then else 0):
                connection.sendall(then)
        except ConnectionError:
            pass
        return everything(connection)


@pytest.mark.parametrize("sent", [b"", LIVE, b"POST /v1/models/add/infer HTTP/1.1\r\nHost: x\r\nX-A: a", b"\r\n"])
def test_connections_that_ask_nothing_give_way_to_those_that_do(client: Client, sent: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(4 * MOST + admission.RESERVE):
            connection = stack.enter_context(connected(client))
            connection.sendall(sent)
        assert client.get("/v1/health/live")[0] == 200
        assert client.send(INFER, BODY)[0] == 200


def test_kept_connections_give_way_the_oldest_first(client: Client) -> None:
    with ExitStack() as stack:
        kept = []
        for _ in range(MOST + 5):
            connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=waiting.PATIENCE_S)
            stack.enter_context(closing(connection))
            connection.request("GET", "/v1/health/live")
            assert connection.getresponse().read()
            kept.append(connection)
        assert everything(kept[0].sock) == b""
        kept[-1].request("GET", "/v1/health/live")
        assert kept[-1].getresponse().status == 200


def test_where_all_connections_are_busy_health_is_answered_and_all_else_is_503(client: Client) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{{".encode()
    with ExitStack() as stack:
        busy = [stack.enter_context(connected(client)) for _ in range(MOST)]
        for connection in busy:
            connection.sendall(head)
        size = f"Content-Length: {len(BODY)}"
        ask = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{size}\r\n\r\n".encode() + BODY
        # the last of them may not have been read when the first of these comes
        waiting.until(lambda: answers_to(client, ask[:-1] + b"}").startswith(b"HTTP/1.1 503 "))
        refusal = answers_to(client, ask)
        head_of, _, text = refusal.partition(b"\r\n\r\n")
        assert b"retry-after: 1" in head_of and b"connection: close" in head_of
        assert "max_connections" in json.loads(text)["error"]["message"]
        for path in ("/v1/health/live", "/v1/health/ready", "/health", "/v2/health/live"):
            assert client.get(path)[0] == 200
        for connection in busy:
            connection.sendall(b"}" * 49)
            assert connection.recv(16).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("sent", [b"GET", LIVE, LIVE + b"X-A: a"])
def test_headers_that_are_not_complete_in_time_are_408(hasty: Client, sent: bytes) -> None:
    answer = answers_to(hasty, sent)
    assert answer.startswith(b"HTTP/1.1 408 ") and "headers were not complete after 1 s" in answer.decode()


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"])
def test_a_connection_that_asks_nothing_is_closed_without_a_word(hasty: Client, sent: bytes) -> None:
    assert answers_to(hasty, sent) == b""


def test_headers_that_are_late_on_a_kept_connection_are_408_too(hasty: Client) -> None:
    answer = answers_to(hasty, LIVE + b"\r\n" + LIVE)
    assert answer.count(b"HTTP/1.1 ") == 2 and b"HTTP/1.1 200 " in answer and b"HTTP/1.1 408 " in answer


@pytest.mark.parametrize(
    ("sent", "then"),
    [
        (LIVE + b"X-A: ", b"a" * 100_000),
        (LIVE, b"X-A: " + b"a" * 500 + b"\r\n"),
        (b"GET /", b"a" * 100_000),
        (LIVE + b"A: b\r\n" * 300 + b"\r\n", b""),
        (LIVE + b"X-A: " + b"a" * HEADERS + b"\r\n\r\n", b""),
    ],
    ids=["one long line", "many lines", "a long target", "too many lines", "a little too long"],
)
def test_headers_that_are_too_large_are_431(client: Client, sent: bytes, then: bytes) -> None:
    answer = answers_to(client, sent, then)
    assert answer.startswith(b"HTTP/1.1 431 ") or (then and not answer)  # it may be lost while we still send
    if answer:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == 431


def test_connections_that_are_ended_are_counted_by_reason(client: Client) -> None:
    name = 'wasm_service_refused_connections_total{reason="431"}'
    before = client.metric(name)
    answers_to(client, LIVE + b"A: b\r\n" * 300 + b"\r\n")
    assert client.metric(name) == before + 1


def test_headers_just_below_the_limit_are_accepted(client: Client) -> None:
    room = HEADERS - len(LIVE) - len(b"X-A: \r\nConnection: close\r\n\r\n") - 1
    sent = LIVE + b"X-A: " + b"a" * room + b"\r\nConnection: close\r\n\r\n"
    assert answers_to(client, sent).startswith(b"HTTP/1.1 200 ")


CHUNKED = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("sent", "then"),
    [
        (b"1\r\n{\r\n0\r\n", b"X-A: " + b"a" * 500 + b"\r\n"),
        (b"1\r\n{\r\n0\r\nX-A: ", b"a" * 5000),
        (b"1;", b"a" * 5000),
    ],
    ids=["many trailers", "one long trailer", "a long chunk extension"],
)
def test_what_surrounds_chunks_is_bounded(client: Client, sent: bytes, then: bytes) -> None:
    assert b" 200 " not in answers_to(client, CHUNKED + sent, then)


def test_trailers_are_dropped(client: Client) -> None:
    size = b"%x\r\n" % len(BODY)
    sent = CHUNKED.replace(b"Host", b"Connection: close\r\nHost") + size + BODY + b"\r\n0\r\nX-Request-Id: b\r\n\r\n"
    answer = answers_to(client, sent)
    assert answer.startswith(b"HTTP/1.1 200 ") and b"x-request-id: b\r\n" not in answer


def test_of_pipelined_requests_some_are_answered_and_the_last_says_so(client: Client) -> None:
    answer = answers_to(client, (LIVE + b"\r\n") * 1000)
    assert 1 < answer.count(b"HTTP/1.1 200 ") <= MAX_PIPELINED + 1
    assert answer.count(b"connection: close") == 1 and answer.rpartition(b"HTTP/1.1 ")[2].count(b"connection: close")


def test_what_is_no_http_behind_a_good_request_does_not_cut_its_answer(client: Client) -> None:
    size = f"Content-Length: {len(BODY)}".encode()
    ask = f"POST {INFER} HTTP/1.1\r\nHost: x\r\n".encode() + size + b"\r\n\r\n" + BODY
    answer = answers_to(client, ask + b"\0\1\2 nonsense\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"}")


def test_a_request_that_is_answered_before_its_body_came_keeps_no_connection(hasty: Client) -> None:
    with connected(hasty) as connection:
        connection.sendall(LIVE + b"Content-Length: 1000\r\n\r\n")
        assert everything(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("files", [64, 256, 1024, 1 << 20])
def test_the_limit_of_open_files_limits_connections(files: int, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    allowed = admission.allowed_connections(1000)
    # HTTP's with the reserve, and as many of gRPC
    assert 8 <= allowed <= 1000 and (files < 256 or 2 * (allowed + admission.RESERVE) < files)


def paths_of(client: Client) -> list[str]:
    paths = client.get("/openapi.json")[1]["paths"]
    found = [path for path, methods in paths.items() if "get" in methods]
    return [path.replace("{name}", "add").replace("{version}", "1") for path in found]


def test_head_answers_as_get_does_without_a_body(client: Client) -> None:
    paths = [*paths_of(client), "/openapi.json", "/v1/nothing", "/v2/models/nothing"]
    assert {"/v1/health/live", "/v1/health/ready", "/health", "/ready", "/v2", "/metrics"} < set(paths)
    ports = [(client.port, path) for path in paths] + [(client.metrics_port, "/metrics")]
    for port, path in ports:
        found = []
        for method in ("GET", "HEAD"):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=waiting.PATIENCE_S)) as connection:
                connection.request(method, path)
                answer = connection.getresponse()
                body = answer.read()
                assert method == "GET" or body == b"", path
                found.append((answer.status, answer.getheader("content-type")))
        assert found[0] == found[1], path


def test_head_of_what_has_no_get_is_405_and_says_what_is_allowed(client: Client) -> None:
    for method, path, allowed in (("HEAD", INFER, "POST"), ("POST", "/v1/health/live", "GET, HEAD")):
        with closing(http.client.HTTPConnection("127.0.0.1", client.port, timeout=waiting.PATIENCE_S)) as connection:
            connection.request(method, path)
            answer = connection.getresponse()
            assert (answer.status, answer.getheader("allow")) == (405, allowed)


def test_the_metrics_port_shares_the_limits(client: Client) -> None:
    with ExitStack() as stack:
        for _ in range(3 * MOST):
            stack.enter_context(
                socket.create_connection(("127.0.0.1", client.metrics_port), timeout=waiting.PATIENCE_S)
            )
        assert client.get("/metrics", port=client.metrics_port)[0] == 200
        assert client.get("/v1/health/live")[0] == 200
