"""Large requests and responses: they are decoded and encoded without delaying others, and bounded together."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from portalis.backend import Interface
from portalis.nim.service.codec import decoder_pool
from portalis.nim.service.codec.decoder_pool import DecoderPool
from portalis.nim.service.codec.request import LARGE_BYTES
from portalis.nim.service.request_errors import RequestError
from tests.backend import guests
from tests.nim.service.process import Service, running
from tests.running import waiting
from tests.running.memory import resident_bytes

pytestmark = pytest.mark.service

LIMIT, TOTAL_LIMIT, RESPONSE_LIMIT = 4 << 20, 6 << 20, 2 << 20
MANY = LIMIT // 4  # elements of three bytes each: about as many objects as a request can have
INFER = "/v1/models/{}/infer"


def modules(folder: Path) -> list[dict[str, Any]]:
    texts = {
        "add": '(module (func (export "add") (param $x f32) (result f32) (f32.add (local.get $x) (f32.const 1))))',
        "odd": '(module (func (export "odd") (param $x f32) (result f32) (f32.div (local.get $x) (f32.const 0))))',
    }
    for name, text in texts.items():
        (folder / f"{name}.wasm").write_bytes(guests.wasm(text))
    (folder / "pair.wasm").write_bytes(guests.echo("FP32", (2,), batch=4))
    (folder / "text.wasm").write_bytes(guests.echo("BYTES", (-1,)))
    return [{"name": name, "file": f"{name}.wasm"} for name in (*texts, "pair", "text")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("modules")
    limits: dict[str, Any] = {
        "max_request_bytes": LIMIT,
        "max_buffered_bytes": TOTAL_LIMIT,
        "max_response_bytes": RESPONSE_LIMIT,
    }
    with running(folder, modules(folder), body_timeout_s=waiting.PATIENCE_S, **limits) as service:
        service.wait_ready()
        yield service


@pytest.fixture(autouse=True)
def small_requests_are_answered(service: Service) -> Iterator[None]:
    yield
    assert service.client.send(INFER.format("add"), request("1.0", 1))[1]["outputs"][0]["data"] == [2.0]


def request(elements: str, size: int, *, kind: str = "FP32", fields: str = "", shape: list[int] | None = None) -> bytes:
    """A request with one input of `size` elements, all equal to `elements`."""
    data = ",".join([elements] * size)
    text = f'{{"inputs":[{{"name":"x","datatype":"{kind}","shape":{shape or [size]},{fields}"data":[{data}]}}]}}'
    return text.encode()


def cpu_s(service: Service) -> float:
    """CPU seconds that the process of the service has used."""
    fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(service: Service) -> int:
    return resident_bytes(service.process.pid) >> 20


def output(service: Service, model: str, body: bytes) -> Any:
    status, document = service.client.send(INFER.format(model), body)
    assert status == 200, document
    return document["outputs"][0]


def error_message(service: Service, model: str, body: bytes) -> str:
    status, document = service.client.send(INFER.format(model), body)
    assert 400 <= status < 500, document
    return str(document["error"]["message"])


# decoding


@pytest.mark.parametrize("element", ["1.5", '"NaN"', '"Infinity"', "7"])
def test_a_large_request_is_answered_as_a_small_one(service: Service, element: str) -> None:
    size = LARGE_BYTES // len(element)
    large, small = (output(service, "add", request(element, n)) for n in (size, 1))
    assert large["shape"] == [size] and large["data"] == small["data"] * size


def test_nested_data_of_a_large_request_arrives_unchanged(service: Service) -> None:
    rows = np.arange(120_000, dtype=np.float32).reshape(-1, 2)
    nested = json.dumps(rows.tolist())[1:-1]
    body = request(nested, 1, shape=list(rows.shape))
    assert output(service, "add", body)["data"] == (rows + 1).ravel().tolist()


@pytest.mark.parametrize("encoding", ["utf-8", "base64"])
def test_bytes_of_a_large_request_arrive_unchanged(service: Service, encoding: str) -> None:
    element = "w4TDlg==" if encoding == "base64" else "ÄÖ"
    fields = f'"parameters":{{"content_encoding":"{encoding}"}},'
    size = LARGE_BYTES // 8
    text = output(service, "text", request(f'"{element}"', size, kind="BYTES", fields=fields))
    assert text["data"] == ["ÄÖ"] * size


HOSTILE = {
    "a batch that is too large": request("0", MANY, shape=[MANY // 2, 2]),
    "another shape": request("0", MANY),
    "more elements than the shape has": request("0", MANY, shape=[1, 2]),
    "empty lists": request("[]", MANY, shape=[1, 2]),
    "empty objects": request("{}", MANY, shape=[1, 2]),
    "strings": request('""', MANY, shape=[1, 2]),
    "many keys": b"{" + b",".join(b'"%07x":0' % i for i in range(MANY // 3)) + b"}",
    "many inputs": b'{"inputs":[' + b"{}," * MANY + b"{}]}",
    "many sizes": request("0", 1).replace(b"[1]", b"[" + b"1," * MANY + b"1]"),
    "one deep list": b"[" * LIMIT,
    "one long number": b"9" * LIMIT,
    "one long string": b'{"id":"' + b"a" * (LIMIT - 20) + b'","inputs":[]}',
    "not JSON": b"x" * LIMIT,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_rejecting_a_large_request_takes_little_time_of_the_service_itself(service: Service, what: str) -> None:
    before = cpu_s(service)
    error_message(service, "pair", HOSTILE[what])
    # it includes the connections of probes and of the client; decoding would take a second and more
    assert cpu_s(service) - before < 0.4


def test_shapes_are_checked_before_data_is_read(service: Service) -> None:
    assert "the batch of 100000 is larger than the maximum of 4" in error_message(
        service, "pair", request('"not a number"', 200_000, shape=[100_000, 2])
    )
    assert "it must be [2]" in error_message(service, "pair", request('"not a number"', 100_000, shape=[100_000]))
    assert "shape [1, 2] has 2 elements" in error_message(
        service, "pair", request('"not a number"', 100_000, shape=[1, 2])
    )
    assert "the maximum for a BYTES tensor is 1048576" in error_message(
        service, "text", request("0", 100_000, kind="BYTES", shape=[1 << 40])
    )


def test_the_memory_of_large_requests_is_returned(service: Service) -> None:
    error_message(service, "pair", HOSTILE["another shape"])
    before = resident_mib(service)
    for what in ("empty lists", "another shape", "many keys"):
        for _ in range(3):
            error_message(service, "pair", HOSTILE[what])
    waiting.until(lambda: resident_mib(service) < before + 40, lambda: resident_mib(service))


def test_a_request_whose_objects_take_too_much_memory_is_413_and_the_next_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interface = Interface.from_json(
        {"entry": "f", "convention": "elementwise", "inputs": [guests.tensor("x")], "outputs": [guests.tensor("y")]},
        where="test",
    )
    monkeypatch.setattr(decoder_pool, "BASE_MEMORY_BYTES", 200 << 20)

    async def decode() -> None:
        pool = DecoderPool(1)
        try:
            with pytest.raises(RequestError, match="too much memory") as caught:
                await pool.decode_http(interface, request("[]", 2_000_000), None, v2=False)
            assert caught.value.status == 413
            parsed = await pool.decode_http(interface, request("1", 10), None, v2=False)
            assert parsed.inputs["x"].tolist() == [1.0] * 10
        finally:
            pool.close()

    asyncio.run(decode())


# all bodies together


def test_bodies_are_bounded_together_and_small_ones_pass(service: Service) -> None:
    head = f"POST {INFER.format('add')} HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT}\r\n\r\n".encode()
    large = request("1.500000000000", LIMIT // 16)
    with ExitStack() as stack:

        def hold() -> None:
            connection = socket.create_connection(("127.0.0.1", service.client.port), timeout=waiting.PATIENCE_S)
            stack.enter_context(connection)
            with suppress(OSError):  # it is rejected in the middle of its body
                connection.sendall(head + b"[" * (LIMIT - 10))

        def is_full() -> bool:
            if service.client.send(INFER.format("add"), large)[0] == 503:
                return True
            hold()  # all earlier ones may have been rejected, if they came at the same time
            return False

        for _ in range(3):
            hold()
        waiting.until(is_full)
        with closing(http.client.HTTPConnection("127.0.0.1", service.client.port)) as http_connection:
            http_connection.request("POST", INFER.format("add"), large)
            response = http_connection.getresponse()
            assert (response.status, response.getheader("retry-after")) == (503, "1")
            assert "max_buffered_bytes" in json.loads(response.read())["error"]["message"]
        assert service.client.send(INFER.format("add"), request("1", 1))[0] == 200
        assert service.client.get("/v1/health/ready")[0] == 200
    waiting.until(lambda: service.client.send(INFER.format("add"), large)[0] == 200)


@pytest.mark.parametrize("size", [LIMIT, 16 * LIMIT])
def test_the_decompressed_size_is_bounded_too(service: Service, size: int) -> None:
    packed = gzip.compress(b" " * size, 1)
    with closing(http.client.HTTPConnection("127.0.0.1", service.client.port)) as http_connection:
        http_connection.request("POST", INFER.format("add"), packed[: 2 * LIMIT], {"Content-Encoding": "gzip"})
        assert http_connection.getresponse().status in (400, 413)


# responses


def test_a_large_response_is_encoded_in_chunks_with_literals_for_non_finite_numbers(service: Service) -> None:
    size = LARGE_BYTES
    elements = ",".join(str(number % 3 - 1) for number in range(size))
    data = output(service, "odd", request(elements, 1, shape=[size]))["data"]
    small = output(service, "odd", request("-1,0,1", 1, shape=[3]))["data"]
    assert len(data) == size and str(data[:3]) == str(small)
    assert {str(each) for each in data} == {str(each) for each in small}


def test_a_response_larger_than_the_limit_is_500_and_names_it(service: Service) -> None:
    status, document = service.client.send(INFER.format("add"), request("1", RESPONSE_LIMIT // 4 + 1))
    assert status == 500 and "max_response_bytes" in document["error"]["message"]


def test_a_client_of_http_1_0_gets_a_large_response_without_chunks(service: Service) -> None:
    body = request("1", LARGE_BYTES)
    with socket.create_connection(("127.0.0.1", service.client.port), timeout=waiting.PATIENCE_S) as connection:
        connection.sendall(
            f"POST {INFER.format('add')} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        response = b""
        while chunk := connection.recv(1 << 16):
            response += chunk
    headers, _, text = response.partition(b"\r\n\r\n")
    assert b"chunked" not in headers and json.loads(text)["outputs"][0]["shape"] == [LARGE_BYTES]


@pytest.mark.parametrize("model", ["add", "text"])
def test_connections_of_clients_that_do_not_read_their_responses_are_closed(tmp_path: Path, model: str) -> None:
    kind, element = ("FP32", "0.3333") if model == "add" else ("BYTES", '"0123456789abcdef0123456789abcdef"')
    body = request(element, (8 << 20) // len(element), kind=kind)
    ask = f"POST {INFER.format(model)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with running(tmp_path, modules(tmp_path), body_timeout_s=2) as service, socket.socket() as connection:
        service.wait_ready()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", service.client.port))
        connection.sendall(ask)
        ended = select.poll()
        ended.register(connection.fileno(), 0)
        waiting.until(lambda: ended.poll(0))
        assert output(service, "add", request("1", 1))["data"] == [2.0]


# gRPC


def grpc_call(service: Service, message: bytes) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{service.client.grpc_port}") as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer", response_deserializer=pb.ModelInferResponse.FromString
        )
        return infer(message, timeout=waiting.PATIENCE_S)


def grpc_request(size: int, *, raw: bool) -> bytes:
    message = pb.ModelInferRequest(model_name="add", id="7")
    tensor = message.inputs.add(name="x", datatype="FP32", shape=[size])
    values = np.arange(size, dtype=np.float32)
    if raw:
        message.raw_input_contents.append(values.tobytes())
    else:
        tensor.contents.fp32_contents.extend(values)
    return bytes(message.SerializeToString())


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("size", [10, 20_000, 200_000])
def test_a_grpc_request_of_any_size_is_answered(service: Service, size: int, raw: bool) -> None:
    response = grpc_call(service, grpc_request(size, raw=raw))
    values = np.frombuffer(response.raw_output_contents[0], np.float32)
    assert response.id == "7" and values.tolist() == (np.arange(size, dtype=np.float32) + 1).tolist()


@pytest.mark.parametrize(
    "field", [b"\x2a\x00", b"\x3a\x00", b"\x32\x00", b"\x22\x00"], ids=["inputs", "raw", "outputs", "parameters"]
)
def test_rejecting_a_grpc_request_of_many_small_fields_takes_little_time_of_the_service_itself(
    service: Service, field: bytes
) -> None:
    before = cpu_s(service)
    with pytest.raises(grpc.RpcError) as caught:
        grpc_call(service, b"\x0a\x03add" + field * (LIMIT // 3))
    assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert cpu_s(service) - before < 0.4


@pytest.mark.parametrize("tail", [b"\x3a\xff\xff\xff\xff\x0f", b"\x2d\0\0\0\0", b"\x3a" + b"\x80" * 11])
def test_a_large_grpc_message_that_is_cut_is_rejected(service: Service, tail: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        grpc_call(service, grpc_request(50_000, raw=True) + tail)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_idle_grpc_connections_do_not_use_up_the_services_files(tmp_path: Path) -> None:
    with running(tmp_path, modules(tmp_path)[:1], max_connections=10, header_timeout_s=1) as service:
        service.wait_ready()
        files = Path(f"/proc/{service.process.pid}/fd")
        before = len(list(files.iterdir()))
        with ExitStack() as stack:
            for _ in range(60):
                stack.enter_context(socket.create_connection(("127.0.0.1", service.client.grpc_port)))
            waiting.until(lambda: len(list(files.iterdir())) < before + 20)
            assert service.client.get("/v1/health/live")[0] == 200
        waiting.until(lambda: len(list(files.iterdir())) <= before + 5)
        assert grpc_call(service, grpc_request(10, raw=True)).model_name == "add"
