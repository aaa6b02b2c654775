"""A service with sequences: the number of instances, shared memory, ensembles, waiting sequences, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as aio_client
import tritonclient.http as http_client

from tests.backend import guests
from tests.running import waiting
from tests.running.waiting import PATIENCE_S

from .ensembles.package import ensemble, one
from .process import running
from .scheduling.stateful import sequences, sum_module
from .serving import Client, serving
from .shared_memory.shared_objects import shared_object

pytestmark = pytest.mark.service
CHAIN = ensemble("chain", "x", "y", one("sums", y="sum"), one("echo", "sum"), batch=0, dims=(1,))
CHAIN["outputs"][0]["dims"] = [5]
WAITING, CONNECTIONS = 1000, 8


def model(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "file": "sums.wasm", "isolation": "instance", "sequence_batching": sequences(), **changes}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("sequences")
    (folder / "sums.wasm").write_bytes(sum_module())
    models = [
        model("sums", max_sequences=8),
        model("one"),
        model("three", sequence_instances=3),
        model("two", max_sequences=2, sequence_instances=3),
        model("six", sequence_batching=sequences(oldest={"max_candidate_sequences": 3}), sequence_instances=2),
        model("crowded"),
    ]
    (folder / "echo.wasm").write_bytes(guests.echo())
    models.append({"name": "echo", "file": "echo.wasm"})
    with serving(folder, models, ensembles=[CHAIN], max_queued_requests=2 * WAITING) as client:
        client.wait_ready()
        yield client


def send(client: Client, name: str, sequence: int, value: float, flags: str = "", **parameters: Any) -> tuple[int, Any]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [value]}
    about = {"sequence_id": sequence, "sequence_start": "S" in flags, "sequence_end": "E" in flags}
    document = {"inputs": [tensor], "parameters": {**about, **parameters}}
    status, answer = client.send(f"/v2/models/{name}/infer", json.dumps(document).encode())
    return status, answer["outputs"][0]["data"][0] if status == 200 else answer["error"]


@pytest.mark.parametrize(("name", "number"), [("one", 1), ("three", 3), ("two", 2), ("six", 6)])
def test_instances_are_counted_unless_the_number_of_sequences_is_set(client: Client, name: str, number: int) -> None:
    assert [send(client, name, each, each, "S") for each in range(1, number + 1)] == [
        (200, each) for each in range(1, number + 1)
    ]
    status, text = send(client, name, 100, 1, "SE", timeout=100_000)
    assert (status, "timeout of the corresponding sequence has been expired" in text) == (503, True)
    assert [send(client, name, each, 1, "E")[0] for each in range(1, number + 1)] == [200] * number
    assert send(client, name, 100, 1, "SE") == (200, 1)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_tensors_of_a_sequence_in_shared_memory(client: Client, protocol: str) -> None:
    module: Any = http_client if protocol == "http" else grpc_client
    url = f"127.0.0.1:{client.port if protocol == 'http' else client.grpc_port}"
    sums = []
    with shared_object(32) as region, module.InferenceServerClient(url) as connection:
        connection.register_system_shared_memory("data", region.key, 32)
        x, y = module.InferInput("x", [1], "FP32"), module.InferRequestedOutput("y")
        x.set_shared_memory("data", 4)
        y.set_shared_memory("data", 20, offset=8)
        for value, start, end in ((1, True, False), (2, False, False), (4, False, True)):
            region.write(np.float32(value).tobytes())
            options = {"sequence_id": 77, "sequence_start": start, "sequence_end": end}
            connection.infer("sums", [x], outputs=[y], **options)
            sums.append(np.frombuffer(region.read(), np.float32, offset=8, count=5).tolist())
        connection.unregister_system_shared_memory("data")
    assert sums == [[1, 77, 1, 0, 1], [3, 77, 0, 0, 1], [7, 77, 0, 1, 1]]


def test_a_step_of_an_ensemble_has_sequences(client: Client) -> None:
    script = [(11, 1, "S"), (12, 10, "S"), (11, 2, ""), (12, 20, "E"), (11, 4, "E")]
    assert [send(client, "chain", *request) for request in script] == [(200, total) for total in (1, 10, 3, 30, 7)]
    status, text = send(client, "chain", 11, 1)
    assert (status, "START flag" in text) == (400, True)
    assert send(client, "sums", 11, 8, "SE") == (200, 8)  # the instance is free


def test_the_service_answers_other_requests_while_a_thousand_sequences_wait(client: Client) -> None:
    metric = 'wasm_service_queue_requests{model="crowded"}'
    x = grpc_client.InferInput("x", [1], "FP32")
    x.set_data_from_numpy(np.ones(1, np.float32))
    url = f"127.0.0.1:{client.grpc_port}"

    async def until_waiting(number: int) -> None:
        await asyncio.to_thread(
            waiting.until, lambda: client.metric(metric) == number, lambda: client.metric(metric), every_s=0.05
        )

    async def script() -> None:
        async with contextlib.AsyncExitStack() as stack:
            # without a pool, a channel of its own for each client: the number of requests on one is limited
            options = [("grpc.use_local_subchannel_pool", 1)]
            connections = [
                await stack.enter_async_context(aio_client.InferenceServerClient(url, channel_args=options))
                for _ in range(CONNECTIONS)
            ]
            first = connections[0]
            await first.infer("crowded", [x], sequence_id=1, sequence_start=True)
            waiters = [
                asyncio.create_task(
                    connections[i % CONNECTIONS].infer("crowded", [x], sequence_id=2 + i, sequence_start=True)
                )
                for i in range(WAITING)
            ]
            await until_waiting(WAITING)
            assert await first.is_server_live() and await first.is_server_ready()
            assert await first.is_model_ready("crowded")
            for path in ("/v1/health/live", "/v1/health/ready", "/v2/health/ready", "/v2/models/crowded/ready"):
                assert (await asyncio.to_thread(client.get, path))[0] == 200
            assert await asyncio.to_thread(send, client, "sums", 900, 5, "SE") == (200, 5)
            assert not any(each.done() for each in waiters)
            for each in waiters:
                each.cancel()
            await asyncio.gather(*waiters, return_exceptions=True)
            await until_waiting(0)
            await first.infer("crowded", [x], sequence_id=1, sequence_end=True)
            assert await asyncio.to_thread(send, client, "crowded", 5000, 1, "SE") == (200, 1)

    asyncio.run(script())


def test_the_service_ends_within_sequences(tmp_path: Path) -> None:
    """One sequence has an instance and is between two requests, others wait."""
    (tmp_path / "sums.wasm").write_bytes(sum_module())
    with running(tmp_path, [model("sums")], drain_s=0) as service:
        service.wait_ready()
        assert send(service.client, "sums", 1, 1, "S") == (200, 1)
        answers: list[tuple[int, Any]] = []
        waiters = [
            threading.Thread(target=lambda i=i: answers.append(send(service.client, "sums", i, 1, "S")))
            for i in range(2, 10)
        ]
        for each in waiters:
            each.start()
        metric = 'wasm_service_queue_requests{model="sums"}'
        waiting.until(lambda: service.client.metric(metric) == len(waiters), service.text, every_s=0.02)
        service.process.send_signal(signal.SIGTERM)
        for each in waiters:
            each.join(PATIENCE_S)
        assert service.end() == 0, service.text()
    assert {status for status, _ in answers} == {503} and len(answers) == len(waiters)
    assert all("Server is stopping" in text for _, text in answers)
    assert "Traceback" not in service.text()
