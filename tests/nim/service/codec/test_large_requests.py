"""Large requests and responses: they are decoded and encoded beside the rest, and bounded together."""

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

LIMIT, TOGETHER, RESPONSE = 4 << 20, 6 << 20, 2 << 20
MANY = LIMIT // 4  # elements of three bytes each, that make about as many objects as a request can
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
        "max_buffered_bytes": TOGETHER,
        "max_response_bytes": RESPONSE,
    }
    with running(folder, modules(folder), body_timeout_s=waiting.PATIENCE_S, **limits) as service:
        service.wait_ready()
        yield service


@pytest.fixture(autouse=True)
def others_are_answered(service: Service) -> Iterator[None]:
    yield
    assert service.client.send(INFER.format("add"), request("1.0", 1))[1]["outputs"][0]["data"] == [2.0]


def request(elements: str, size: int, *, kind: str = "FP32", more: str = "", shape: list[int] | None = None) -> bytes:
    """A request for one input of `size` elements, which are `elements` again and again."""
    data = ",".join([elements] * size)
    text = f'{{"inputs":[{{"name":"x","datatype":"{kind}","shape":{shape or [size]},{more}"data":[{data}]}}]}}'
    return text.encode()


def cpu_s(service: Service) -> float:
    """CPU seconds of the service's own process so far."""
    fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(service: Service) -> int:
    return resident_bytes(service.process.pid) >> 20


def answered(service: Service, model: str, body: bytes) -> Any:
    status, found = service.client.send(INFER.format(model), body)
    assert status == 200, found
    return found["outputs"][0]


def refused(service: Service, model: str, body: bytes) -> str:
    status, found = service.client.send(INFER.format(model), body)
    assert 400 <= status < 500, found
    return str(found["error"]["message"])


# decoding


@pytest.mark.parametrize("element", ["1.5", '"NaN"', '"Infinity"', "7"])
def test_a_large_request_is_answered_as_a_small_one(service: Service, element: str) -> None:
    size = LARGE_BYTES // len(element)
    large, small = (answered(service, "add", request(element, n)) for n in (size, 1))
    assert large["shape"] == [size] and large["data"] == small["data"] * size


def test_nested_and_binary_tensors_of_a_large_request_arrive_as_they_are(service: Service) -> None:
    rows = np.arange(120_000, dtype=np.float32).reshape(-1, 2)
    nested = json.dumps(rows.tolist())[1:-1]
    body = request(nested, 1, shape=list(rows.shape))
    assert answered(service, "add", body)["data"] == (rows + 1).ravel().tolist()


@pytest.mark.parametrize("encoding", ["utf-8", "base64"])
def test_bytes_of_a_large_request_arrive_as_they_are(service: Service, encoding: str) -> None:
    element = "w4TDlg==" if encoding == "base64" else "ÄÖ"
    more = f'"parameters":{{"content_encoding":"{encoding}"}},'
    size = LARGE_BYTES // 8
    found = answered(service, "text", request(f'"{element}"', size, kind="BYTES", more=more))
    assert found["data"] == ["ÄÖ"] * size


HOSTILE = {
    "a batch that is too large": request("0", MANY, shape=[MANY // 2, 2]),
    "another shape": request("0", MANY),
    "more elements than the shape has": request("0", MANY, shape=[1, 2]),
    "empty lists": request("[]", MANY, shape=[1, 2]),
    "empty objects": request("{}", MANY, shape=[1, 2]),
    "texts": request('""', MANY, shape=[1, 2]),
    "many keys": b"{" + b",".join(b'"%07x":0' % i for i in range(MANY // 3)) + b"}",
    "many inputs": b'{"inputs":[' + b"{}," * MANY + b"{}]}",
    "many sizes": request("0", 1).replace(b"[1]", b"[" + b"1," * MANY + b"1]"),
    "one deep list": b"[" * LIMIT,
    "one long number": b"9" * LIMIT,
    "one long text": b'{"id":"' + b"a" * (LIMIT - 20) + b'","inputs":[]}',
    "no JSON": b"x" * LIMIT,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_large_request_that_is_refused_costs_the_service_itself_little(service: Service, what: str) -> None:
    before = cpu_s(service)
    refused(service, "pair", HOSTILE[what])
    # the probes' and the client's connections are in it; decoding here took a second and more
    assert cpu_s(service) - before < 0.4


def test_shapes_are_compared_before_data_are_looked_at(service: Service) -> None:
    assert "the batch of 100000 is larger than the maximum of 4" in refused(
        service, "pair", request('"no number"', 200_000, shape=[100_000, 2])
    )
    assert "it must be [2]" in refused(service, "pair", request('"no number"', 100_000, shape=[100_000]))
    assert "shape [1, 2] has 2 elements" in refused(service, "pair", request('"no number"', 100_000, shape=[1, 2]))
    assert "a BYTES tensor may have 1048576" in refused(
        service, "text", request("0", 100_000, kind="BYTES", shape=[1 << 40])
    )


def test_the_memory_of_large_requests_is_given_back(service: Service) -> None:
    refused(service, "pair", HOSTILE["another shape"])
    before = resident_mib(service)
    for what in ("empty lists", "another shape", "many keys"):
        for _ in range(3):
            refused(service, "pair", HOSTILE[what])
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
        found = DecoderPool(1)
        try:
            with pytest.raises(RequestError, match="too much memory") as refusal:
                await found.decode_http(interface, request("[]", 2_000_000), None, v2=False)
            assert refusal.value.status == 413
            parsed = await found.decode_http(interface, request("1", 10), None, v2=False)
            assert parsed.inputs["x"].tolist() == [1.0] * 10
        finally:
            found.close()

    asyncio.run(decode())


# all bodies together


def test_bodies_are_bounded_together_and_small_ones_pass(service: Service) -> None:
    head = f"POST {INFER.format('add')} HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT}\r\n\r\n".encode()
    large = request("1.500000000000", LIMIT // 16)
    with ExitStack() as stack:

        def hold() -> None:
            connection = socket.create_connection(("127.0.0.1", service.client.port), timeout=waiting.PATIENCE_S)
            stack.enter_context(connection)
            with suppress(OSError):  # it was refused in the middle of its body
                connection.sendall(head + b"[" * (LIMIT - 10))

        def is_full() -> bool:
            if service.client.send(INFER.format("add"), large)[0] == 503:
                return True
            hold()  # those that came at the same time may all have been refused
            return False

        for _ in range(3):
            hold()
        waiting.until(is_full)
        with closing(http.client.HTTPConnection("127.0.0.1", service.client.port)) as asking:
            asking.request("POST", INFER.format("add"), large)
            refusal = asking.getresponse()
            assert (refusal.status, refusal.getheader("retry-after")) == (503, "1")
            assert "max_buffered_bytes" in json.loads(refusal.read())["error"]["message"]
        assert service.client.send(INFER.format("add"), request("1", 1))[0] == 200
        assert service.client.get("/v1/health/ready")[0] == 200
    waiting.until(lambda: service.client.send(INFER.format("add"), large)[0] == 200)


@pytest.mark.parametrize("size", [LIMIT, 16 * LIMIT])
def test_what_is_decompressed_is_bounded_too(service: Service, size: int) -> None:
    packed = gzip.compress(b" " * size, 1)
    with closing(http.client.HTTPConnection("127.0.0.1", service.client.port)) as asking:
        asking.request("POST", INFER.format("add"), packed[: 2 * LIMIT], {"Content-Encoding": "gzip"})
        assert asking.getresponse().status in (400, 413)


# responses


def test_a_large_response_is_encoded_in_pieces_and_not_finite_numbers_have_their_names(service: Service) -> None:
    size = LARGE_BYTES
    elements = ",".join(str(number % 3 - 1) for number in range(size))
    found = answered(service, "odd", request(elements, 1, shape=[size]))
    small = answered(service, "odd", request("-1,0,1", 1, shape=[3]))["data"]
    assert len(found["data"]) == size and str(found["data"][:3]) == str(small)
    assert {str(each) for each in found["data"]} == {str(each) for each in small}


def test_a_response_larger_than_the_limit_is_500_and_names_it(service: Service) -> None:
    status, found = service.client.send(INFER.format("add"), request("1", RESPONSE // 4 + 1))
    assert status == 500 and "max_response_bytes" in found["error"]["message"]


def test_a_client_of_http_1_0_gets_a_large_response_without_chunks(service: Service) -> None:
    body = request("1", LARGE_BYTES)
    with socket.create_connection(("127.0.0.1", service.client.port), timeout=waiting.PATIENCE_S) as connection:
        connection.sendall(
            f"POST {INFER.format('add')} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        found = b""
        while chunk := connection.recv(1 << 16):
            found += chunk
    head, _, text = found.partition(b"\r\n\r\n")
    assert b"chunked" not in head and json.loads(text)["outputs"][0]["shape"] == [LARGE_BYTES]


@pytest.mark.parametrize("model", ["add", "text"])
def test_clients_that_do_not_read_their_responses_are_cut_off(tmp_path: Path, model: str) -> None:
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
        assert answered(service, "add", request("1", 1))["data"] == [2.0]


# gRPC


def grpc_call(service: Service, message: bytes) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{service.client.grpc_port}") as channel:
        ask = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer", response_deserializer=pb.ModelInferResponse.FromString
        )
        return ask(message, timeout=waiting.PATIENCE_S)


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
    found = grpc_call(service, grpc_request(size, raw=raw))
    values = np.frombuffer(found.raw_output_contents[0], np.float32)
    assert found.id == "7" and values.tolist() == (np.arange(size, dtype=np.float32) + 1).tolist()


@pytest.mark.parametrize(
    "field", [b"\x2a\x00", b"\x3a\x00", b"\x32\x00", b"\x22\x00"], ids=["inputs", "raw", "outputs", "parameters"]
)
def test_a_grpc_request_of_many_small_fields_costs_the_service_itself_little(service: Service, field: bytes) -> None:
    before = cpu_s(service)
    with pytest.raises(grpc.RpcError) as refusal:
        grpc_call(service, b"\x0a\x03add" + field * (LIMIT // 3))
    assert refusal.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert cpu_s(service) - before < 0.4


@pytest.mark.parametrize("tail", [b"\x3a\xff\xff\xff\xff\x0f", b"\x2d\0\0\0\0", b"\x3a" + b"\x80" * 11])
def test_a_large_grpc_message_that_is_cut_is_refused(service: Service, tail: bytes) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        grpc_call(service, grpc_request(50_000, raw=True) + tail)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_idle_grpc_connections_do_not_take_the_services_files(tmp_path: Path) -> None:
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
