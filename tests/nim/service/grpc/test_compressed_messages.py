"""Compressed gRPC messages, and classes over gRPC."""

from __future__ import annotations

import gzip
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb

from tests.nim.service.identities import identities
from tests.nim.service.serving import Client, serving
from tests.running.memory import resident_bytes
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.service
LIMIT = 4 << 20
METHODS = "/inference.GRPCInferenceService/"
ROWS = np.array([[0.5, 3, 1.25], [2, 1, 0]], np.float32)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("modules")
    models = identities(folder)
    (folder / "labels.txt").write_bytes(b"zero\n\ntwo\xff\n")
    for model in models:
        model["interface"]["max_batch_size"] = 8
        model["labels"] = {"y": "labels.txt"}
    with serving(folder, models, max_request_bytes=LIMIT) as client:
        client.wait_ready()
        yield client


@pytest.fixture(scope="module")
def triton_client(client: Client) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as triton_client:
        yield triton_client


def infer_input(array: np.ndarray, kind: str = "FP32") -> triton.InferInput:
    return triton.InferInput("x", list(array.shape), kind).set_data_from_numpy(array)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_requests_can_be_compressed(triton_client: triton.InferenceServerClient, algorithm: str) -> None:
    for array in (ROWS, np.zeros((1, LIMIT // 8), np.float32)):
        result = triton_client.infer("same_FP32", [infer_input(array)], compression_algorithm=algorithm)
        np.testing.assert_array_equal(result.as_numpy("y"), array)


def test_streams_can_be_compressed(triton_client: triton.InferenceServerClient) -> None:
    results: list[Any] = []
    triton_client.start_stream(lambda result, error: results.append(error or result), compression_algorithm="gzip")
    for _ in range(3):
        triton_client.async_stream_infer("same_FP32", [infer_input(ROWS)])
    triton_client.stop_stream()
    assert [each.as_numpy("y").tolist() for each in results] == [ROWS.tolist()] * 3


@pytest.mark.parametrize(
    ("method", "compression"),
    [("ModelInfer", grpc.Compression.Gzip), ("RepositoryIndex", grpc.Compression.Deflate)],
)
def test_a_message_that_is_too_large_after_decompression_is_refused(
    client: Client, method: str, compression: grpc.Compression
) -> None:
    options = [("grpc.max_send_message_length", -1)]
    before = 0
    with grpc.insecure_channel(f"127.0.0.1:{client.grpc_port}", options) as channel:
        call = channel.unary_unary(METHODS + method)
        bomb = b"\x3a" + bytes(48 << 20)
        for _ in range(4):
            with pytest.raises(grpc.RpcError) as caught:
                call(bomb, compression=compression, timeout=PATIENCE_S)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            before = before or resident_bytes()
    assert resident_bytes() - before < 100 << 20, "messages are still in memory"


def test_messages_that_are_large_together_are_refused_within_the_memory_budget(tmp_path: Path) -> None:
    models = identities(tmp_path)
    message = pb.ModelInferRequest(model_name="unknown")
    message.inputs.add(name="x", datatype="UINT8", shape=[16 << 20])
    message.raw_input_contents.append(bytes(16 << 20))
    bomb = gzip.compress(message.SerializeToString(), 1)
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident_bytes())

    with serving(tmp_path, models, max_request_bytes=17 << 20, max_buffered_bytes=64 << 20) as client:
        client.wait_ready()
        before = resident_bytes()
        with grpc.insecure_channel(
            f"127.0.0.1:{client.grpc_port}", [("grpc.max_receive_message_length", -1)]
        ) as channel:
            watcher = threading.Thread(target=watch)
            watcher.start()
            call = channel.unary_unary(METHODS + "ModelInfer", response_deserializer=len)
            calls = [call.future(bomb, timeout=PATIENCE_S) for _ in range(40)]
            codes = {each.code() for each in calls}
            done.set()
            watcher.join()
    assert codes == {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE}
    assert peak - before < 300 << 20, "40 messages have 640 MiB"


def test_large_requests_that_fail_do_not_stay_in_memory(client: Client) -> None:
    options = [("grpc.max_send_message_length", -1)]
    message = pb.ModelInferRequest(model_name="same_FP32")
    message.inputs.add(name="x", datatype="FP32", shape=[1])
    message.raw_input_contents.append(bytes(LIMIT - 1000))
    request = message.SerializeToString()
    before = resident_bytes()
    with grpc.insecure_channel(f"127.0.0.1:{client.grpc_port}", options) as channel:
        call = channel.unary_unary(METHODS + "ModelInfer")
        for _ in range(60):
            with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
                call(request, timeout=PATIENCE_S)
        stream = channel.stream_stream(METHODS + "ModelStreamInfer")
        assert len(list(stream(iter([request] * 60), timeout=PATIENCE_S))) == 60
    assert resident_bytes() - before < 30 * LIMIT


@pytest.mark.parametrize("cut", [2, 20, 1000])
def test_a_compressed_message_that_is_damaged_is_an_invalid_argument(client: Client, cut: int) -> None:
    whole = gzip.compress(bytes(200_000) + random.Random(1).randbytes(2000))
    with grpc.insecure_channel(f"127.0.0.1:{client.grpc_port}") as channel:
        call = channel.unary_unary(METHODS + "ModelInfer")
        for damaged in (whole[:-cut], whole + b"x" * cut, whole[:-cut] + bytes(cut)):
            with pytest.raises(grpc.RpcError, match="the request cannot be decompressed") as caught:
                call(damaged, timeout=PATIENCE_S)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_response_is_not_compressed_as_in_triton(client: Client) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{client.grpc_port}") as channel:
        call = channel.unary_unary(METHODS + "ServerLive")
        response, details = call.with_call(b"", compression=grpc.Compression.Gzip, timeout=PATIENCE_S)
    assert response == b"\x08\x01"
    assert "grpc-encoding" not in dict(details.initial_metadata())


@pytest.mark.parametrize("count", [2, 3, 2**32, 2**63 - 1])
def test_classes_are_values_indices_and_labels(triton_client: triton.InferenceServerClient, count: int) -> None:
    outputs = [triton.InferRequestedOutput("y", class_count=count)]
    result = triton_client.infer("same_FP32", [infer_input(ROWS)], outputs=outputs)
    expected = [
        [b"3.000000:1", b"1.250000:2:two\xff", b"0.500000:0:zero"],
        [b"2.000000:0:zero", b"1.000000:1", b"0.000000:2:two\xff"],
    ]
    assert result.as_numpy("y").tolist() == [row[:count] for row in expected]


def test_a_data_type_without_classes_is_an_invalid_argument(triton_client: triton.InferenceServerClient) -> None:
    array = ROWS.astype(np.float16)
    with pytest.raises(triton.InferenceServerException, match="unsupported type 'FP16'") as caught:
        triton_client.infer(
            "same_FP16", [infer_input(array, "FP16")], outputs=[triton.InferRequestedOutput("y", class_count=1)]
        )
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
