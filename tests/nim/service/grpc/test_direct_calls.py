"""Calls that gRPC's own thread answers have the same responses and errors as those that run in other threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import wasmtime
from tritonclient.grpc import service_pb2 as pb

from portalis.nim.service.grpc import request_pool
from portalis.nim.service.grpc.direct_calls import DirectCalls
from tests.nim.service.process import MOODY
from tests.nim.service.serving import Client, serving
from tests.running.waiting import PATIENCE_S, until

from .test_grpc_server import infer_request

pytestmark = pytest.mark.service
INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "moody.wasm").write_bytes(wasmtime.wat2wasm(MOODY))
    with serving(folder, [{"name": "moody", "file": "moody.wasm"}]) as client:
        client.wait_ready()
        yield client


@pytest.fixture(scope="module")
def channel(client: Client) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{client.grpc_port}") as channel:
        yield channel


class Outcomes:
    """The outcomes of `DirectCalls.answer`; with `enabled` False, all calls run in threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.enabled, self.kinds = True, list[type]()
        monkeypatch.setattr(request_pool.RequestPool, "_try_answer", self._wrap(request_pool.RequestPool._try_answer))

    def _wrap(self, answer: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*arguments: Any) -> Any:
            outcome = answer(*arguments) if self.enabled else None
            self.kinds.append(type(outcome))
            return outcome

        return recorded


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> Outcomes:
    return Outcomes(monkeypatch)


def message(*values: float, name: str = "moody", **fields: Any) -> bytes:
    request = infer_request(name, ("x", "FP32", [1, len(values)], np.array(values, "<f4").tobytes()))
    return bytes(pb.ModelInferRequest(**fields).SerializeToString() + request.SerializeToString())


def classes() -> bytes:
    request = infer_request("moody", ("x", "FP32", [1, 2], bytes(8)))
    request.outputs.add(name="y").parameters["classification"].int64_param = 1
    return bytes(request.SerializeToString())


def reply(channel: grpc.Channel, data: bytes) -> tuple[grpc.StatusCode, str, bytes]:
    try:
        return grpc.StatusCode.OK, "", channel.unary_unary(INFER)(data, timeout=PATIENCE_S)
    except grpc.RpcError as error:
        return error.code(), error.details(), b""


def directly(channel: grpc.Channel, outcomes: Outcomes, data: bytes, kind: type = bytes) -> Any:
    """The reply to a call that was handled directly: now and then a call takes long on a busy machine."""

    def handled() -> Any:
        outcomes.kinds.clear()
        result = reply(channel, data)
        return result if outcomes.kinds == [kind] else None

    return until(handled, lambda: outcomes.kinds)


FUNCTION = type(lambda: None)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (message(1, 2), bytes),
        (message(1, id="of the client"), bytes),
        (message(1, model_version="1"), bytes),
        (message(-1), FUNCTION),  # a trap
        (classes(), FUNCTION),
        (message(*[0] * 5000), bytes),
        (message(*[0] * 20_000), type(None)),  # large
        (message(1, name="unknown"), type(None)),
        (message(1, model_version="7"), type(None)),
        (message(1).replace(b"FP32", b"INT8"), type(None)),
        (b"\xff" * 9, type(None)),
    ],
)
def test_a_direct_reply_is_equal_to_that_of_a_thread(
    channel: grpc.Channel, outcomes: Outcomes, data: bytes, kind: type
) -> None:
    outcomes.enabled = False
    expected = reply(channel, data)
    outcomes.enabled = True
    if kind is not type(None):
        directly(channel, outcomes, message(1))  # so that the model is known to be fast
    assert directly(channel, outcomes, data, kind) == expected


def test_a_failed_call_is_counted_once(client: Client, channel: grpc.Channel, outcomes: Outcomes) -> None:
    names = (
        'wasm_service_requests_total{code="500",model="moody",protocol="grpc"}',
        'wasm_service_traps_total{model="moody"}',
    )
    directly(channel, outcomes, message(1))
    before = [client.metric(name) for name in names]
    reply(channel, message(-1))
    assert [client.metric(name) for name in names] == [each + 1 for each in before]


def test_a_call_that_takes_long_after_all_is_answered_while_others_are_served(
    channel: grpc.Channel, outcomes: Outcomes
) -> None:
    directly(channel, outcomes, message(1))
    replies: list[Any] = []
    slow = threading.Thread(target=lambda: replies.append(reply(channel, message(*[101] * 64))))
    slow.start()
    served = 0
    while slow.is_alive():
        channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=PATIENCE_S)
        served += 1
    assert replies[0][2].count(np.float32(102).tobytes()) == 64
    assert served > 3, "gRPC's thread waited for the guest"


def test_a_call_without_a_request_is_rejected(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary(INFER)(iter(()), timeout=PATIENCE_S)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "requires exactly one request message" in caught.value.details()


def test_calls_that_end_before_their_request_arrives_leave_nothing(channel: grpc.Channel) -> None:
    held = threading.Event()

    def requests() -> Iterator[bytes]:
        held.wait(PATIENCE_S)
        yield message(1)

    calls = [channel.stream_unary(INFER).future(requests()) for _ in range(20)]
    for call in calls:
        call.cancel()
    held.set()
    assert reply(channel, message(1))[0] is grpc.StatusCode.OK


def test_an_error_of_the_direct_path_leaves_the_call_to_a_thread(
    channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirectCalls, "_run", lambda *_: 1 / 0)
    assert reply(channel, message(1))[0] is grpc.StatusCode.OK


def test_with_an_unknown_grpc_calls_run_in_threads(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes
) -> None:
    monkeypatch.setattr(request_pool, "_NAMES", ("_missing",))
    (tmp_path / "moody.wasm").write_bytes(wasmtime.wat2wasm(MOODY))
    with serving(tmp_path, [{"name": "moody", "file": "moody.wasm"}]) as client:
        client.wait_ready()
        with grpc.insecure_channel(f"127.0.0.1:{client.grpc_port}") as channel:
            assert reply(channel, message(1))[0] is grpc.StatusCode.OK
    assert outcomes.kinds == []
