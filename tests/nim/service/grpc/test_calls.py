"""Calls that wait for a model: their cancellation, the limits of threads and streams, and all kinds of models."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import wasmtime
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from tritonclient.grpc import service_pb2 as pb

from portalis.nim.service.grpc import methods
from tests.nim.service.serving import Client, serving
from tests.running.waiting import PATIENCE_S, until

from .test_grpc_server import SPIN, infer_request

pytestmark = pytest.mark.service
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
DOUBLE = '(module (func (export "double") (param $x f32) (result f32) (f32.mul (local.get $x) (f32.const 2))))'


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("modules")
    for name, text in {"spin": SPIN, "double": DOUBLE}.items():
        (folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(text))
    no_rows = [{"name": "x", "datatype": "FP32", "shape": [0], "data": []}]
    models: list[dict[str, Any]] = [
        {"name": "spin", "file": "spin.wasm", "limits": {"timeout_s": 3}, "warm_up": no_rows},
        {"name": "double", "file": "double.wasm"},
    ]
    with serving(folder, models, max_queued_requests=2, workers=1) as client:
        client.wait_ready()
        yield client


@pytest.fixture(scope="module")
def channel(client: Client) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{client.grpc_port}") as channel:
        yield channel


def spin() -> bytes:
    return bytes(infer_request("spin", ("x", "FP32", [1], bytes(4))).SerializeToString())


def double(value: float) -> bytes:
    return bytes(infer_request("double", ("x", "FP32", [1], np.float32(value).tobytes())).SerializeToString())


def test_a_call_that_is_cancelled_leaves_the_queue(client: Client, channel: grpc.Channel) -> None:
    queued = 'wasm_service_queue_requests{model="spin"}'
    cancelled = 'wasm_service_requests_total{code="499",model="spin",protocol="grpc"}'
    call = channel.unary_unary(INFER)
    running = call.future(spin(), timeout=5)
    until(lambda: client.metric("wasm_service_active_requests") == 1, every_s=0.01)
    waiting = [call.future(spin(), timeout=PATIENCE_S) for _ in range(2)]
    until(lambda: client.metric(queued) == 2, every_s=0.01)
    before = client.metric(cancelled)
    waiting[0].cancel()
    until(lambda: client.metric(queued) == 1, every_s=0.01)
    late = call.future(spin(), timeout=0.1)
    assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: client.metric(queued) == 1, every_s=0.01)
    waiting[1].cancel()
    running.cancel()
    until(lambda: client.metric("wasm_service_active_requests") == 0, every_s=0.01)
    assert client.metric(cancelled) >= before + 3


def test_probes_and_streams_answer_while_all_threads_wait(client: Client, channel: grpc.Channel) -> None:
    call = channel.unary_unary(INFER)
    check = channel.unary_unary("/grpc.health.v1.Health/Check", StringValue.SerializeToString, Int32Value.FromString)
    calls = [call.future(spin(), timeout=1.5) for _ in range(100)]
    assert check(StringValue(), timeout=PATIENCE_S).value == 1
    assert channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=PATIENCE_S) == b"\x08\x01"
    [response] = channel.stream_stream(STREAM)(iter([double(4)]), timeout=PATIENCE_S)
    assert np.float32(8).tobytes() in response
    codes = [each.code() for each in calls]
    assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) > 90
    assert np.float32(6).tobytes() in call(double(3), timeout=PATIENCE_S)


def test_calls_whose_requests_do_not_arrive_do_not_block_others(client: Client, channel: grpc.Channel) -> None:
    done = threading.Event()

    def requests() -> Iterator[bytes]:
        done.wait(PATIENCE_S)
        yield double(1)

    with grpc.insecure_channel(f"127.0.0.1:{client.grpc_port}", [("grpc.use_local_subchannel_pool", 1)]) as other:
        calls = [other.stream_unary(INFER).future(requests(), timeout=PATIENCE_S) for _ in range(100)]
        assert np.float32(6).tobytes() in channel.unary_unary(INFER)(double(3), timeout=PATIENCE_S)
        done.set()
        assert {each.code() for each in calls} <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_streams_beyond_the_limit_are_refused(
    client: Client, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "MAX_OPEN_STREAMS", 2)
    done = threading.Event()

    def requests() -> Iterator[bytes]:
        yield double(1)
        done.wait(PATIENCE_S)

    stream = channel.stream_stream(STREAM)
    opened = [stream(requests(), timeout=PATIENCE_S) for _ in range(2)]
    for each in opened:
        assert pb.ModelStreamInferResponse.FromString(next(each)).infer_response.model_name == "double"
    with pytest.raises(grpc.RpcError) as caught:
        list(stream(iter([double(1)]), timeout=PATIENCE_S))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert caught.value.details() == "the service has 2 open streams, its limit; retry later"
    opened[0].cancel()  # its thread ends, although its client sends nothing more
    until(lambda: stream(iter([]), timeout=PATIENCE_S).code() is grpc.StatusCode.OK, every_s=0.02)
    done.set()
    assert list(opened[1]) == []


def test_a_stream_that_is_cancelled_cancels_its_requests(client: Client, channel: grpc.Channel) -> None:
    cancelled = 'wasm_service_requests_total{code="499",model="spin",protocol="grpc"}'
    before = client.metric(cancelled)
    call = channel.stream_stream(STREAM)(iter([double(1)] + [spin()] * 2), timeout=PATIENCE_S)
    next(call)
    until(lambda: client.metric("wasm_service_active_requests") == 2, every_s=0.01)
    call.cancel()
    until(lambda: client.metric(cancelled) == before + 2, every_s=0.01)
    until(lambda: client.metric("wasm_service_active_requests") == 0, every_s=0.01)
