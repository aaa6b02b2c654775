"""Programs that call the models without state, as Triton's ``simple_*`` examples do."""

from __future__ import annotations

import asyncio
import queue
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import InferenceServerException, deserialize_bytes_tensor

from tests.running.waiting import PATIENCE_S

from .target import Target, check_results, grpc_tensors, http_tensors, operands

QUERY = {"test_1": 1, "test_2": 2}
MILLISECONDS = 20_000


def http_infer(target: Target, *, compression: str | None = None, headers: dict[str, str] | None = None) -> None:
    """Requests with and without requested outputs, one to a model that is not there, and the statistics."""
    first, second = operands(-1)
    inputs, outputs = http_tensors(first, second)
    options: dict[str, Any] = {
        "query_params": QUERY,
        "headers": headers,
        "request_compression_algorithm": compression,
        "response_compression_algorithm": compression,
    }
    with target.http_client() as client:
        check_results(first, second, client.infer("simple", inputs, outputs=outputs, **options))
        assert len(client.get_inference_statistics("simple", headers=headers)["model_stats"]) == 1
        check_results(first, second, client.infer("simple", inputs, outputs=None, **options))
        with pytest.raises(InferenceServerException, match=r"\] Request for unknown model"):
            client.infer("wrong_model_name", inputs, outputs=outputs, query_params=QUERY)


def http_infer_from_coroutines(target: Target, *, compression: str | None = None) -> None:
    """The same as `http_infer` with the asyncio client, and two requests at the same time."""
    asyncio.run(_http_infer_from_coroutines(target, compression))


async def _http_infer_from_coroutines(target: Target, compression: str | None) -> None:
    import tritonclient.http.aio as triton_http_aio

    first, second = operands(-1)
    inputs, outputs = http_tensors(first, second)
    options: dict[str, Any] = {
        "query_params": QUERY,
        "request_compression_algorithm": compression,
        "response_compression_algorithm": compression,
    }
    async with triton_http_aio.InferenceServerClient(target.http) as client:
        check_results(first, second, await client.infer("simple", inputs, outputs=outputs, **options))
        assert len((await client.get_inference_statistics("simple"))["model_stats"]) == 1
        with pytest.raises(InferenceServerException, match=r"\] Request for unknown model"):
            await client.infer("wrong_model_name", inputs, outputs=outputs)
        calls = [client.infer("simple", inputs, outputs=each, **options) for each in (outputs, None)]
        for result in await asyncio.gather(*calls):
            check_results(first, second, result)


def http_infer_async(target: Target) -> None:
    """Two requests at the same time on the connections of one client."""
    first, second = operands()
    inputs, outputs = http_tensors(first, second)
    with target.http_client(concurrency=2) as client:
        requests = [client.async_infer("simple", inputs, outputs=outputs) for _ in range(2)]
        for request in requests:
            check_results(first, second, request.get_result())


def grpc_infer(target: Target, *, timeout_s: float | None = None, compression: str | None = None) -> None:
    """Requests with and without requested outputs, and the statistics."""
    first, second = operands()
    inputs, outputs = grpc_tensors(first, second)
    options: dict[str, Any] = {
        "headers": {"test": "1"},
        "client_timeout": timeout_s,
        "compression_algorithm": compression,
    }
    with target.grpc_client() as client:
        check_results(first, second, client.infer("simple", inputs, outputs=outputs, **options))
        assert len(client.get_inference_statistics("simple").model_stats) == 1
        check_results(first, second, client.infer("simple", inputs, outputs=None, **options))


def grpc_infer_from_coroutines(target: Target, *, compression: str | None = None) -> None:
    """The same as `grpc_infer` with the asyncio client, and two requests at the same time."""
    asyncio.run(_grpc_infer_from_coroutines(target, compression))


async def _grpc_infer_from_coroutines(target: Target, compression: str | None) -> None:
    import tritonclient.grpc.aio as triton_grpc_aio

    first, second = operands()
    inputs, outputs = grpc_tensors(first, second)
    options: dict[str, Any] = {"headers": {"test": "1"}, "compression_algorithm": compression}
    async with triton_grpc_aio.InferenceServerClient(target.grpc) as client:
        check_results(first, second, await client.infer("simple", inputs, outputs=outputs, **options))
        assert len((await client.get_inference_statistics("simple")).model_stats) == 1
        calls = [client.infer("simple", inputs, outputs=None, **options) for _ in range(2)]
        for result in await asyncio.gather(*calls):
            check_results(first, second, result)


def grpc_infer_async(target: Target, *, timeout_s: float | None = None) -> None:
    """A request whose result a callback receives."""
    first, second = operands()
    inputs, outputs = grpc_tensors(first, second)
    results: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with target.grpc_client() as client:
        client.async_infer(
            "simple",
            inputs,
            lambda result, error: results.put((result, error)),
            outputs=outputs,
            client_timeout=timeout_s,
        )
        result, error = results.get(timeout=PATIENCE_S)
    assert error is None, error
    check_results(first, second, result)


def grpc_infer_with_channel_arguments(target: Target) -> None:
    """A request on a channel with its own sizes and pings."""
    arguments = [
        ("grpc.max_send_message_length", 1 << 20),
        ("grpc.max_receive_message_length", 1 << 20),
        ("grpc.keepalive_time_ms", 2**31 - 1),
        ("grpc.keepalive_timeout_ms", MILLISECONDS),
        ("grpc.keepalive_permit_without_calls", False),
        ("grpc.http2.max_pings_without_data", 2),
        ("grpc.dns_enable_srv_queries", 1),
    ]
    _grpc_infer_once(target.grpc_client(channel_args=arguments))


def grpc_infer_with_keepalive(target: Target) -> None:
    """A request on a channel with pings."""
    options = triton_grpc.KeepAliveOptions(
        keepalive_time_ms=2**31 - 1,
        keepalive_timeout_ms=MILLISECONDS,
        keepalive_permit_without_calls=False,
        http2_max_pings_without_data=2,
    )
    _grpc_infer_once(target.grpc_client(keepalive_options=options))


def _grpc_infer_once(client: Any) -> None:
    first, second = operands()
    inputs, outputs = grpc_tensors(first, second)
    with client:
        check_results(first, second, client.infer("simple", inputs, outputs=outputs, headers={"test": "1"}))


def many_clients(target: Target, *, protocol: str) -> None:
    """One hundred clients, each with one request."""
    array, _ = operands()
    library = triton_http if protocol == "http" else triton_grpc
    tensor = library.InferInput("INPUT0", [1, 16], "INT32")
    tensor.set_data_from_numpy(array)
    for _ in range(100):
        with target.http_client() if protocol == "http" else target.grpc_client() as client:
            outputs = [library.InferRequestedOutput("OUTPUT0")]
            result = client.infer(model_name="custom_identity_int32", inputs=[tensor], outputs=outputs)
            np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), array)


def explicit_contents(target: Target, *, model: str, kind: str) -> None:
    """A message with typed contents instead of raw bytes; then one that the server must refuse."""
    request = pb.ModelInferRequest(model_name=model)
    for name, values in (("INPUT0", list(range(16))), ("INPUT1", [1] * 16)):
        tensor = request.inputs.add(name=name, datatype=kind, shape=[1, 16])
        if kind == "BYTES":
            tensor.contents.bytes_contents.extend(str(value).encode() for value in values)
        else:
            tensor.contents.int_contents.extend(values)
    for name in ("OUTPUT0", "OUTPUT1"):
        request.outputs.add(name=name)
    with grpc.insecure_channel(target.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        response = stub.ModelInfer(request, timeout=PATIENCE_S)
        assert [list(output.shape) for output in response.outputs] == [[1, 16]] * 2
        results = [_numbers(content, kind) for content in response.raw_output_contents]
        assert results == [[value + 1 for value in range(16)], [value - 1 for value in range(16)]]
        message = _spoil(request, kind)
        if message:
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(request, timeout=PATIENCE_S)
            assert message in str(caught.value.details())


def _numbers(content: bytes, kind: str) -> list[int]:
    if kind == "BYTES":
        return [int(text) for text in deserialize_bytes_tensor(content)]
    numbers: list[int] = np.frombuffer(content, kind.lower()).tolist()
    return numbers


def _spoil(request: Any, kind: str) -> str:
    """Make `request` one that a server must refuse; returns a part of Triton's message."""
    if kind == "INT8":
        request.model_version = "wrong_specification"
        return "failed to get model version from specified version string 'wrong_specification'"
    if kind == "INT32":
        request.raw_input_contents.append(bytes(32))
        del request.inputs[0].contents.int_contents[:8]
        return "contents field must not be specified when using raw_input_contents for 'INPUT0' for model 'simple'"
    return ""
