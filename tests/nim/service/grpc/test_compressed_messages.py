"""Compressed gRPC messages, and classes over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

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
