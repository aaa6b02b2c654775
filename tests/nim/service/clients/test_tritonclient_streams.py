"""Concurrent requests and streams with Triton's Python clients, and requests without the client's transport."""

from __future__ import annotations

import asyncio
import queue
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

from tests.running.waiting import PATIENCE_S

from .target import Target, check_results, grpc_tensors, http_tensors, operands

REQUESTS = 50


@pytest.mark.service
def test_many_requests_of_one_http_client(service_target: Target) -> None:
    with service_target.http_client(concurrency=8) as client:
        calls = []
        for number in range(REQUESTS):
            inputs, outputs = http_tensors(*operands(number))
            calls.append(client.async_infer("simple", inputs, outputs=outputs, request_id=str(number)))
        for number, call in enumerate(calls):
            result = call.get_result()
            assert result.get_response()["id"] == str(number)
            check_results(*operands(number), result)


@pytest.mark.service
def test_many_requests_of_one_grpc_client(service_target: Target) -> None:
    results: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with service_target.grpc_client() as client:
        for number in range(REQUESTS):
            inputs, outputs = grpc_tensors(*operands(number))
            client.async_infer(
                "simple",
                inputs,
                lambda result, error: results.put((result, error)),
                outputs=outputs,
                request_id=str(number),
            )
        for _ in range(REQUESTS):
            result, error = results.get(timeout=PATIENCE_S)
            assert error is None
            check_results(*operands(int(result.get_response().id)), result)


@pytest.mark.parametrize("library", [triton_http_aio, triton_grpc_aio], ids=["http", "grpc"])
@pytest.mark.service
def test_many_requests_of_one_asyncio_client(service_target: Target, library: Any) -> None:
    http = library is triton_http_aio

    async def run() -> list[Any]:
        async with library.InferenceServerClient(service_target.http if http else service_target.grpc) as client:
            calls = []
            for number in range(REQUESTS):
                inputs, outputs = (http_tensors if http else grpc_tensors)(*operands(number))
                calls.append(client.infer("simple", inputs, outputs=outputs))
            return list(await asyncio.gather(*calls))

    for number, result in enumerate(asyncio.run(run())):
        check_results(*operands(number), result)


@pytest.mark.service
def test_a_stream_returns_a_response_or_an_error_for_each_request(service_target: Target) -> None:
    responses: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with service_target.grpc_client() as client:
        client.start_stream(
            lambda result, error: responses.put((result, error)), headers={"custom": "1"}, compression_algorithm="gzip"
        )
        with pytest.raises(InferenceServerException):
            client.start_stream(lambda result, error: None)
        for number in range(REQUESTS):
            inputs, _ = grpc_tensors(*operands(number))
            model = "unknown" if number == REQUESTS // 2 else "simple"
            client.async_stream_infer(model, inputs, request_id=str(number), enable_empty_final_response=True)
        found = [responses.get(timeout=PATIENCE_S) for _ in range(REQUESTS)]
        client.stop_stream()
    errors = [error for _, error in found if error is not None]
    assert len(errors) == 1 and "unknown" in errors[0].message()
    for result, _ in found:
        if result is not None:
            response = result.get_response()
            assert response.parameters["triton_final_response"].bool_param
            check_results(*operands(int(response.id)), result)


@pytest.mark.service
def test_a_stream_of_the_asyncio_client(service_target: Target) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number in range(REQUESTS):
            inputs, outputs = grpc_tensors(*operands(number))
            yield {"model_name": "simple", "inputs": inputs, "outputs": outputs, "request_id": str(number)}

    async def run() -> list[tuple[Any, Any]]:
        async with triton_grpc_aio.InferenceServerClient(service_target.grpc) as client:
            return [each async for each in client.stream_infer(requests(), stream_timeout=PATIENCE_S)]

    found = asyncio.run(run())
    assert [result.get_response().id for result, _ in found] == [str(number) for number in range(REQUESTS)]
    for number, (result, error) in enumerate(found):
        assert error is None
        check_results(*operands(number), result)


@pytest.mark.service
def test_a_cancelled_stream_ends_and_the_server_serves_on(service_target: Target) -> None:
    async def run() -> None:
        async def requests() -> AsyncIterator[dict[str, Any]]:
            inputs, _ = grpc_tensors(*operands())
            yield {"model_name": "simple", "inputs": inputs}
            await asyncio.Event().wait()

        async with triton_grpc_aio.InferenceServerClient(service_target.grpc) as client:
            responses = client.stream_infer(requests())
            async for result, error in responses:
                assert error is None
                check_results(*operands(), result)
                responses.cancel()
                break
            inputs, _ = grpc_tensors(*operands())
            check_results(*operands(), await client.infer("simple", inputs))

    asyncio.run(run())


@pytest.mark.service
def test_a_cancelled_request_reports_it_to_its_callback(service_target: Target) -> None:
    results: queue.Queue[tuple[Any, Any]] = queue.Queue()
    inputs, _ = grpc_tensors(*operands())
    with service_target.grpc_client() as client:
        call = client.async_infer("simple", inputs, lambda result, error: results.put((result, error)))
        call.cancel()
        result, error = results.get(timeout=PATIENCE_S)
        assert error is None or error.status() == "StatusCode.CANCELLED"
        assert (result is None) == (error is not None)
        check_results(*operands(), client.infer("simple", inputs))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.service
def test_a_body_of_the_client_can_be_sent_without_it(service_target: Target, binary: bool) -> None:
    inputs, _ = http_tensors(*operands())
    outputs = [triton_http.InferRequestedOutput(name, binary_data=binary) for name in ("OUTPUT0", "OUTPUT1")]
    body, size = triton_http.InferenceServerClient.generate_request_body(inputs, outputs=outputs, request_id="a")
    headers = {"Inference-Header-Content-Length": str(size)}
    request = urllib.request.Request(f"http://{service_target.http}/v2/models/simple/infer", bytes(body), headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        length = response.headers.get("Inference-Header-Content-Length")
        content = response.read()
    assert (length is not None) == binary
    result = triton_http.InferenceServerClient.parse_response_body(
        content, header_length=int(length) if length else None
    )
    check_results(*operands(), result)
