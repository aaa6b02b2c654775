"""Inference requests that are answered without the framework have the same responses as all others."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import wasmtime
from prometheus_client.parser import text_string_to_metric_families

from portalis.nim.service.http.direct_inference import DirectInference
from tests.nim.service.process import MOODY
from tests.nim.service.serving import Client, serving
from tests.running import waiting

pytestmark = pytest.mark.service

V1, V2 = "/v1/models/moody/infer", "/v2/models/moody/infer"
_VARYING = re.compile(rb"(date|x-request-id|connection): [^\r]*\r\n")


class Answers:
    """Counts the requests that were answered directly."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.direct = self.others = 0
        answer = DirectInference.answer

        def counted(*arguments: object) -> bytes | None:
            response: bytes | None = answer(*arguments)  # type: ignore[arg-type]
            self.direct += response is not None
            self.others += response is None
            return response

        monkeypatch.setattr(DirectInference, "answer", counted)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(monkeypatch)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "moody.wasm").write_bytes(wasmtime.wat2wasm(MOODY))
    kept = {"name": "kept", "file": "moody.wasm", "isolation": "instance"}
    with serving(folder, [{"name": "moody", "file": "moody.wasm"}, kept], header_timeout_s=1) as client:
        client.wait_ready()
        yield client


def request(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def as_json(*values: float, **fields: object) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, len(values)], "data": values}
    return json.dumps({"inputs": [tensor], **fields}).encode()


def as_binary(count: int, **fields: object) -> tuple[bytes, tuple[str, ...]]:
    """A body of raw zeros, and its headers."""
    size = {"binary_data_size": 4 * count}
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, count], "parameters": size}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}, **fields}).encode()
    return text + bytes(4 * count), (f"Inference-Header-Content-Length: {len(text)}",)


def connected(client: Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.port), timeout=waiting.PATIENCE_S)


def read_response(connection: socket.socket, rest: bytes = b"") -> tuple[bytes, bytes]:
    """The next response, and what follows it."""
    while b"\r\n\r\n" not in rest:
        chunk = connection.recv(1 << 16)
        assert chunk, rest
        rest += chunk
    head, _, rest = rest.partition(b"\r\n\r\n")
    size = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
    while len(rest) < size:
        rest += connection.recv(1 << 16)
    return head + b"\r\n\r\n" + rest[:size], rest[size:]


def response_to(client: Client, *sent: bytes) -> bytes:
    """The response to a request in several parts, without what differs between equal responses."""
    with connected(client) as connection:
        for part in sent:
            connection.sendall(part)
        return _VARYING.sub(b"", read_response(connection)[0])


def directly(client: Client, answers: Answers, sent: bytes) -> bytes:
    """The response to a request that was answered directly: now and then a call takes long on a busy machine."""

    def answered() -> bytes:
        before = answers.direct
        response = response_to(client, sent)
        return response if answers.direct > before else b""

    return waiting.until(answered, lambda: f"{answers.others} requests took the ordinary path")


BODIES = {
    "JSON": (V2, as_json(1, 2), ()),
    "with an id": (V2, as_json(1, id="of the client"), ()),
    "of /v1": (V1, as_json(1, 2), ()),
    "binary": (V2, *as_binary(5)),
    "binary with an id": (V2, *as_binary(5, id="7")),
    "a version": ("/v2/models/moody/versions/1/infer", as_json(3), ()),
    "a timeout": (V2, as_json(3, parameters={"timeout": 60_000_000}), ()),
    "encodings": (V2, as_json(3), ("Accept-Encoding: identity", "Content-Type: text/plain")),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_direct_response_is_equal_to_that_of_the_ordinary_path(client: Client, answers: Answers, name: str) -> None:
    path, body, headers = BODIES[name]
    expected = response_to(client, request(path, body, *headers, "Connection: close"))
    assert expected.startswith(b"HTTP/1.1 200 OK\r\n")
    assert directly(client, answers, request(path, body, *headers)) == expected


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        (V2, as_json(-1), (), 500),
        (V1, as_json(-1), (), 500),
        (V2, b"{", (), 400),
        (V2, as_json(1).replace(b"FP32", b"INT8"), (), 400),
        (V2, as_json(1).replace(b"[1, 1]", b"[1, 2]"), (), 400),
        ("/v2/models/other/infer", as_json(1), (), 404),
        ("/v2/models/moody/versions/2/infer", as_json(1), (), 404),
        (V2, as_json(1), ("Content-Encoding: br",), 501),
        (V2, as_json(1), ("Inference-Header-Content-Length: 99999",), 400),
        (V2, as_json(1, 2, outputs=[{"name": "y", "parameters": {"classification": 1}}]), (), 200),
        (V2, as_json(1), ("Accept-Encoding: gzip",), 200),
    ],
)
def test_requests_that_fail_or_are_unusual_have_the_ordinary_response(
    client: Client, answers: Answers, path: str, body: bytes, headers: tuple[str, ...], status: int
) -> None:
    directly(client, answers, request(V2, as_json(1)))  # so that the model is known to be fast
    answered = answers.direct
    sent = request(path, body, *headers)
    response = response_to(client, sent)
    assert response.startswith(b"HTTP/1.1 %d " % status)
    assert answers.direct == answered
    assert response == response_to(client, request(path, body, *headers, "Connection: close"))


def test_a_failed_request_is_counted_once(client: Client, answers: Answers) -> None:
    name = 'wasm_service_requests_total{code="500",model="moody",protocol="v2"}'
    directly(client, answers, request(V2, as_json(1)))
    before = client.metric(name), client.metric('wasm_service_traps_total{model="moody"}')
    response_to(client, request(V2, as_json(-1)))
    after = client.metric(name), client.metric('wasm_service_traps_total{model="moody"}')
    assert after == (before[0] + 1, before[1] + 1)


def test_direct_requests_are_counted(client: Client, answers: Answers) -> None:
    def counts() -> list[float]:
        names = ("wasm_service_requests_total", "wasm_service_request_seconds_count", "wasm_service_batch_rows_sum")
        text = client.get("/metrics")[1]
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        return [sum(s.value for s in samples if s.name == name and s.labels["model"] == "moody") for name in names]

    directly(client, answers, request(V2, as_json(1)))
    before, sent = counts(), answers.direct + answers.others
    directly(client, answers, request(V2, as_json(1)))
    assert counts() == [each + answers.direct + answers.others - sent for each in before]


def test_a_call_that_takes_long_after_all_is_answered_while_others_are_served(client: Client, answers: Answers) -> None:
    directly(client, answers, request(V2, as_json(1)))
    failures = client.metric('wasm_service_failures_total{kind="GuestTimeout",model="moody"}')
    responses: list[bytes] = []
    slow = threading.Thread(target=lambda: responses.append(response_to(client, request(V2, as_json(*[101] * 64)))))
    slow.start()
    served = 0
    while slow.is_alive():
        served += client.get("/v1/health/live")[0] == 200
        time.sleep(0.001)
    assert b'"data":[' + b",".join([b"102.0"] * 64) in responses[0]
    assert served > 3, "the event loop waited for the guest"
    assert client.metric('wasm_service_failures_total{kind="GuestTimeout",model="moody"}') == failures


def test_a_module_that_keeps_state_never_runs_on_the_event_loop(client: Client, answers: Answers) -> None:
    for _ in range(5):
        assert response_to(client, request("/v2/models/kept/infer", as_json(1))).startswith(b"HTTP/1.1 200")
    assert answers.direct == 0


def test_a_body_can_arrive_in_parts(client: Client, answers: Answers) -> None:
    sent = request(V2, as_json(1, 2))
    expected = directly(client, answers, sent)
    for cut in (1, 40, len(sent) - 5):
        assert response_to(client, sent[:cut], sent[cut:]) == expected
    with connected(client) as connection:
        connection.sendall(sent[:-5])
        time.sleep(1.5)  # longer than the interval of the connection's timers
        connection.sendall(sent[-5:])
        assert _VARYING.sub(b"", read_response(connection)[0]) == expected


def test_pipelined_requests_are_answered_in_order(client: Client, answers: Answers) -> None:
    directly(client, answers, request(V2, as_json(1)))
    with connected(client) as connection:
        connection.sendall(b"".join(request(V2, as_json(value)) for value in range(12)))
        rest = b""
        for value in range(12):
            response, rest = read_response(connection, rest)
            assert f'"data":[{value + 1}.0]'.encode() in response


def test_a_flood_of_pipelined_requests_gets_responses_until_the_connection_ends(client: Client) -> None:
    with connected(client) as connection:
        received = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(request(V2, as_json(1)) * 400)
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(1 << 16):
                received += chunk
    assert received.count(b"HTTP/1.1 200 OK") == received.count(b'"data":[2.0]') > 0
    assert b"connection: close" in received


def test_an_idle_connection_is_kept_and_used_again(client: Client, answers: Answers) -> None:
    with connected(client) as connection:
        for _ in range(3):
            connection.sendall(request(V2, as_json(1)))
            assert b"200 OK" in read_response(connection)[0]
            time.sleep(0.6)
