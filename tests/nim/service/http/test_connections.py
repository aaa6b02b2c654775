"""Too many connections, slow ones and large headers: health and other requests are still served."""

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

MAX_CONNECTIONS, MAX_HEADER_BYTES = 12, 2048
ADD = """(module (func (export "add") (param $x f32) (result f32) (f32.add (local.get $x) (f32.const 1))))"""
INFER = "/v1/models/add/infer"
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}]}).encode()
LIVE = b"GET /v1/health/live HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    patient = {"header_timeout_s": waiting.PATIENCE_S, "body_timeout_s": waiting.PATIENCE_S}
    yield from served(tmp_path_factory.mktemp("modules"), patient)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service with a short timeout for headers."""
    yield from served(tmp_path_factory.mktemp("modules"), {"header_timeout_s": 1})


def served(folder: Path, times: dict[str, float]) -> Iterator[Client]:
    (folder / "add.wasm").write_bytes(wasmtime.wat2wasm(ADD))
    limits = {"max_connections": MAX_CONNECTIONS, "max_header_bytes": MAX_HEADER_BYTES, **times}
    with serving(folder, [{"name": "add", "file": "add.wasm"}], **limits) as client:
        client.wait_ready()
        yield client


@pytest.fixture(autouse=True)
def inference_still_works(request: pytest.FixtureRequest) -> Iterator[None]:
    client: Client = request.getfixturevalue("hasty" if "hasty" in request.fixturenames else "client")
    yield
    assert client.send(INFER, BODY)[1]["outputs"][0]["data"] == [2.0]


def connected(client: Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.port), timeout=waiting.PATIENCE_S)


def read_all(connection: socket.socket) -> bytes:
    """Everything that is received until the service closes the connection."""
    received = b""
    try:
        while chunk := connection.recv(1 << 16):
            received += chunk
    except ConnectionError:
        pass
    return received


def responses_to(client: Client, sent: bytes, repeated: bytes = b"") -> bytes:
    """All responses to `sent`, and then to 200 times `repeated`, on one connection that the service closes."""
    with connected(client) as connection:
        connection.sendall(sent)
        try:
            for _ in range(200 if repeated else 0):
                connection.sendall(repeated)
        except ConnectionError:
            pass
        return read_all(connection)


@pytest.mark.parametrize("sent", [b"", LIVE, b"POST /v1/models/add/infer HTTP/1.1\r\nHost: x\r\nX-A: a", b"\r\n"])
def test_connections_without_a_request_are_replaced_by_new_ones(client: Client, sent: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(4 * MAX_CONNECTIONS + admission.RESERVE):
            connection = stack.enter_context(connected(client))
            connection.sendall(sent)
        assert client.get("/v1/health/live")[0] == 200
        assert client.send(INFER, BODY)[0] == 200


def test_idle_connections_are_replaced_oldest_first(client: Client) -> None:
    with ExitStack() as stack:
        idle = []
        for _ in range(MAX_CONNECTIONS + 5):
            connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=waiting.PATIENCE_S)
            stack.enter_context(closing(connection))
            connection.request("GET", "/v1/health/live")
            assert connection.getresponse().read()
            idle.append(connection)
        assert read_all(idle[0].sock) == b""
        idle[-1].request("GET", "/v1/health/live")
        assert idle[-1].getresponse().status == 200


def test_if_all_connections_are_busy_only_health_requests_are_served(client: Client) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{{".encode()
    with ExitStack() as stack:
        busy = [stack.enter_context(connected(client)) for _ in range(MAX_CONNECTIONS)]
        for connection in busy:
            connection.sendall(head)
        size = f"Content-Length: {len(BODY)}"
        request_bytes = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{size}\r\n\r\n".encode() + BODY
        # the service might not yet have read the last of the busy connections
        waiting.until(lambda: responses_to(client, request_bytes[:-1] + b"}").startswith(b"HTTP/1.1 503 "))
        rejection = responses_to(client, request_bytes)
        rejection_headers, _, text = rejection.partition(b"\r\n\r\n")
        assert b"retry-after: 1" in rejection_headers and b"connection: close" in rejection_headers
        assert "max_connections" in json.loads(text)["error"]["message"]
        for path in ("/v1/health/live", "/v1/health/ready", "/health", "/v2/health/live"):
            assert client.get(path)[0] == 200
        for connection in busy:
            connection.sendall(b"}" * 49)
            assert connection.recv(16).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("sent", [b"GET", LIVE, LIVE + b"X-A: a"])
def test_headers_that_are_not_complete_in_time_are_408(impatient: Client, sent: bytes) -> None:
    response = responses_to(impatient, sent)
    assert response.startswith(b"HTTP/1.1 408 ") and "headers were not complete after 1 s" in response.decode()


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"])
def test_a_connection_without_a_request_is_closed_without_a_response(impatient: Client, sent: bytes) -> None:
    assert responses_to(impatient, sent) == b""


def test_late_headers_of_a_later_request_are_408_too(impatient: Client) -> None:
    response = responses_to(impatient, LIVE + b"\r\n" + LIVE)
    assert response.count(b"HTTP/1.1 ") == 2 and b"HTTP/1.1 200 " in response and b"HTTP/1.1 408 " in response


@pytest.mark.parametrize(
    ("sent", "repeated"),
    [
        (LIVE + b"X-A: ", b"a" * 100_000),
        (LIVE, b"X-A: " + b"a" * 500 + b"\r\n"),
        (b"GET /", b"a" * 100_000),
        (LIVE + b"A: b\r\n" * 300 + b"\r\n", b""),
        (LIVE + b"X-A: " + b"a" * MAX_HEADER_BYTES + b"\r\n\r\n", b""),
    ],
    ids=["one long line", "many lines", "a long target", "too many lines", "a little too long"],
)
def test_headers_that_are_too_large_are_431(client: Client, sent: bytes, repeated: bytes) -> None:
    response = responses_to(client, sent, repeated)
    assert response.startswith(b"HTTP/1.1 431 ") or (
        repeated and not response
    )  # the response can be lost while the client is still sending
    if response:
        assert json.loads(response.partition(b"\r\n\r\n")[2])["error"]["code"] == 431


def test_rejected_connections_are_counted_by_reason(client: Client) -> None:
    name = 'wasm_service_refused_connections_total{reason="431"}'
    before = client.metric(name)
    responses_to(client, LIVE + b"A: b\r\n" * 300 + b"\r\n")
    assert client.metric(name) == before + 1


def test_headers_just_below_the_limit_are_accepted(client: Client) -> None:
    room = MAX_HEADER_BYTES - len(LIVE) - len(b"X-A: \r\nConnection: close\r\n\r\n") - 1
    sent = LIVE + b"X-A: " + b"a" * room + b"\r\nConnection: close\r\n\r\n"
    assert responses_to(client, sent).startswith(b"HTTP/1.1 200 ")


CHUNKED = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("sent", "repeated"),
    [
        (b"1\r\n{\r\n0\r\n", b"X-A: " + b"a" * 500 + b"\r\n"),
        (b"1\r\n{\r\n0\r\nX-A: ", b"a" * 5000),
        (b"1;", b"a" * 5000),
    ],
    ids=["many trailers", "one long trailer", "a long chunk extension"],
)
def test_chunk_extensions_and_trailers_are_limited(client: Client, sent: bytes, repeated: bytes) -> None:
    assert b" 200 " not in responses_to(client, CHUNKED + sent, repeated)


def test_trailers_are_ignored(client: Client) -> None:
    size = b"%x\r\n" % len(BODY)
    sent = CHUNKED.replace(b"Host", b"Connection: close\r\nHost") + size + BODY + b"\r\n0\r\nX-Request-Id: b\r\n\r\n"
    response = responses_to(client, sent)
    assert response.startswith(b"HTTP/1.1 200 ") and b"x-request-id: b\r\n" not in response


def test_only_some_pipelined_requests_are_served_and_the_last_response_closes_the_connection(client: Client) -> None:
    response = responses_to(client, (LIVE + b"\r\n") * 1000)
    assert 1 < response.count(b"HTTP/1.1 200 ") <= MAX_PIPELINED + 1
    assert response.count(b"connection: close") == 1 and response.rpartition(b"HTTP/1.1 ")[2].count(
        b"connection: close"
    )


def test_invalid_data_after_a_valid_request_does_not_affect_its_response(client: Client) -> None:
    size = f"Content-Length: {len(BODY)}".encode()
    request_bytes = f"POST {INFER} HTTP/1.1\r\nHost: x\r\n".encode() + size + b"\r\n\r\n" + BODY
    response = responses_to(client, request_bytes + b"\0\1\2 nonsense\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 200 ") and response.endswith(b"}")


def test_a_response_before_the_body_is_complete_closes_the_connection(impatient: Client) -> None:
    with connected(impatient) as connection:
        connection.sendall(LIVE + b"Content-Length: 1000\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("files", [64, 256, 1024, 1 << 20])
def test_the_limit_of_open_files_limits_connections(files: int, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    allowed = admission.allowed_connections(1000)
    # the connections of HTTP with the reserve, and the same number for gRPC
    assert 8 <= allowed <= 1000 and (files < 256 or 2 * (allowed + admission.RESERVE) < files)


def get_paths(client: Client) -> list[str]:
    paths = client.get("/openapi.json")[1]["paths"]
    found = [path for path, methods in paths.items() if "get" in methods]
    return [path.replace("{name}", "add").replace("{version}", "1") for path in found]


def test_head_equals_get_without_the_body(client: Client) -> None:
    paths = [*get_paths(client), "/openapi.json", "/v1/nothing", "/v2/models/nothing"]
    assert {"/v1/health/live", "/v1/health/ready", "/health", "/ready", "/v2", "/metrics"} < set(paths)
    ports = [(client.port, path) for path in paths] + [(client.metrics_port, "/metrics")]
    for port, path in ports:
        found = []
        for method in ("GET", "HEAD"):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=waiting.PATIENCE_S)) as connection:
                connection.request(method, path)
                response = connection.getresponse()
                body = response.read()
                assert method == "GET" or body == b"", path
                found.append((response.status, response.getheader("content-type")))
        assert found[0] == found[1], path


def test_head_on_a_path_without_get_is_405_with_the_allowed_methods(client: Client) -> None:
    for method, path, allowed in (("HEAD", INFER, "POST"), ("POST", "/v1/health/live", "GET, HEAD")):
        with closing(http.client.HTTPConnection("127.0.0.1", client.port, timeout=waiting.PATIENCE_S)) as connection:
            connection.request(method, path)
            response = connection.getresponse()
            assert (response.status, response.getheader("allow")) == (405, allowed)


def test_the_metrics_port_shares_the_limits(client: Client) -> None:
    with ExitStack() as stack:
        for _ in range(3 * MAX_CONNECTIONS):
            stack.enter_context(
                socket.create_connection(("127.0.0.1", client.metrics_port), timeout=waiting.PATIENCE_S)
            )
        assert client.get("/metrics", port=client.metrics_port)[0] == 200
        assert client.get("/v1/health/live")[0] == 200
