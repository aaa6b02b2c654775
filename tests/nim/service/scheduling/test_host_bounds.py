"""Guests that make the host work, in the service: each fails only its own request, and other requests succeed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from portalis.backend import Limits, Program
from portalis.nim.service.request_errors import RequestError, from_runtime_error
from portalis.nim.service.scheduling import batch_runner
from portalis.nim.service.scheduling.scheduler import Scheduler
from tests.backend import guests, host_guests
from tests.backend.guests import tensor
from tests.nim.service.serving import Client, serving

from .test_scheduler import HeldProgram, submitted

GUESTS = {
    "echo": guests.echo(),
    "zero_huge": host_guests.lying_shape(0, 1 << 62),
    "moody": host_guests.moody(),
    "flood": host_guests.bytes_flood(16),
    "truth": guests.dlpack(guests.ECHO_BODY, inputs=[tensor("x", "UINT8")], outputs=[tensor("y", "BOOL")]),
    "cat": guests.wasm(guests.CAT),
    "add": guests.wasm(guests.ADD),
}
LIMITS: dict[str, dict[str, Any]] = {"add": {"max_tensor_bytes": 1 << 20}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("modules")
    for name, module in GUESTS.items():
        (folder / f"{name}.wasm").write_bytes(module)
    models = [{"name": name, "file": f"{name}.wasm", "limits": LIMITS.get(name, {"timeout_s": 60})} for name in GUESTS]
    with serving(folder, models) as client:
        client.wait_ready()
        yield client


@pytest.fixture
def _other_models_respond(client: Client) -> Iterator[None]:
    yield
    status, document = client.infer("echo", numbers("x", [1], 5))
    assert (status, document["outputs"][0]["data"]) == (200, [5])


def numbers(name: str, shape: list[int], *values: float, datatype: str = "FP32") -> dict[str, Any]:
    return {"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": list(values)}]}


def strings(**inputs: list[str]) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": name, "datatype": "BYTES", "shape": [1, len(data)], "data": data} for name, data in inputs.items()
        ]
    }


@pytest.mark.usefixtures("_other_models_respond")
@pytest.mark.service
def test_an_output_shape_with_a_zero_and_a_huge_size_fails_its_request_only(client: Client) -> None:
    values = [-1 if i % 8 == 7 else i for i in range(40)]
    for _ in range(3):
        with ThreadPoolExecutor(len(values)) as pool:
            responses = list(pool.map(lambda v: client.infer("zero_huge", numbers("x", [1, 1], v)), values))
        for value, (status, document) in zip(values, responses):
            if value == -1:
                assert (status, document["error"]["type"]) == (500, "AbiViolation")
            else:
                assert (status, document["outputs"][0]["data"]) == (200, [value])


@pytest.mark.usefixtures("_other_models_respond")
@pytest.mark.service
@pytest.mark.parametrize(
    ("model", "request_", "status", "kind", "message"),
    [
        (
            "moody",
            # a limit for the guest alone: that of a request can expire before it is run
            {**numbers("x", [1, 1], -3), "parameters": {"wasm.timeout_ms": 50}},
            504,
            "GuestTimeout",
            "longer than its time limit of 0.05 s",
        ),
        ("flood", numbers("x", [1], 1), 500, "GuestError", "more than 1048576 elements, its limit"),
        ("cat", strings(stdin=[""], args=["\ud800"]), 400, "InputError", ""),
    ],
)
def test_the_work_of_the_host_for_a_guest_is_bounded(
    client: Client, model: str, request_: dict[str, Any], status: int, kind: str, message: str
) -> None:
    code, document = client.infer(model, request_)
    assert (code, document["error"]["type"]) == (status, kind)
    assert message in document["error"]["message"]


@pytest.mark.usefixtures("_other_models_respond")
@pytest.mark.service
def test_two_small_inputs_that_broadcast_to_a_large_array_are_rejected(client: Client) -> None:
    data = [0.0] * 2000
    request = {
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [2000, 1], "data": data},
            {"name": "b", "datatype": "FP32", "shape": [1, 2000], "data": data},
        ]
    }
    status, document = client.infer("add", request)
    assert (status, document["error"]["type"]) == (400, "InputError")
    assert "raise limits.max_tensor_bytes in service.json of the server" in document["error"]["message"]


@pytest.mark.usefixtures("_other_models_respond")
@pytest.mark.service
def test_a_bool_is_0_or_1(client: Client) -> None:
    status, document = client.infer("truth", numbers("x", [3], 0, 1, 255, datatype="UINT8"))
    assert (status, document["outputs"][0]["data"]) == (200, [False, True, True])


# -- batches -----------------------------------------------------------------------------------------------------------


def row(value: float) -> dict[str, np.ndarray]:
    return {"x": np.array([[value]], np.float32)}


def as_one_batch(program: Program, values: list[float]) -> tuple[list[float], list[Any]]:
    """The outcomes of requests that run as one batch, and the values in the order in which their requests ended."""
    held = HeldProgram(program)
    scheduler = Scheduler(held, max_queued=100)  # type: ignore[arg-type]
    order: list[float] = []

    async def outcome(value: float) -> Any:
        try:
            return await scheduler.run(row(value))
        except RequestError as error:
            return error
        finally:
            order.append(value)

    async def together() -> list[Any]:
        first = asyncio.ensure_future(scheduler.run(row(0)))
        await asyncio.to_thread(held.began.acquire)
        tasks = [asyncio.ensure_future(outcome(value)) for value in values]
        await submitted()
        held.go.release(1000)
        await first
        return list(await asyncio.gather(*tasks))

    outcomes = asyncio.run(together())
    scheduler.close()
    return order, outcomes


def test_good_requests_do_not_wait_for_endless_ones_of_their_batch() -> None:
    values = [-2.0, 1.0, -2.0, 2.0, -2.0, 3.0]
    with Program.load(host_guests.moody(), limits=Limits(timeout_s=1)) as program:  # for the good ones too
        order, outcomes = as_one_batch(program, values)
    for value, outcome in zip(values, outcomes):
        assert outcome.status == 504 if value < 0 else outcome["y"].tolist() == [[value]]
    assert set(order[:3]) == {1, 2, 3}


def test_a_bug_in_the_service_fails_its_request_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = from_runtime_error

    def broken(error: Any) -> RequestError:
        if "unreachable" in str(error):
            raise ZeroDivisionError("a bug")
        return real(error)

    monkeypatch.setattr(batch_runner, "from_runtime_error", broken)
    with Program.load(host_guests.moody()) as program, caplog.at_level(logging.ERROR):
        _, outcomes = as_one_batch(program, [1, -1, 2])
    assert [getattr(each, "status", 200) for each in outcomes] == [200, 500, 200]
    assert (outcomes[1].kind, outcomes[1].message) == ("InternalServerError", "internal error; see the server log")
    assert "ZeroDivisionError: a bug" in caplog.text and "model 'model'" in caplog.text


def test_an_exception_of_a_batch_fails_only_the_request_that_causes_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Program.load(host_guests.moody()) as program:
        real = program.run_batch

        def broken(requests: Any, **options: Any) -> Any:
            if any(request["x"][0, 0] == 13 for request in requests):
                raise ValueError("a bug")
            return real(requests, **options)

        monkeypatch.setattr(program, "run_batch", broken)
        _, outcomes = as_one_batch(program, [1, 13, 2])
    assert [getattr(each, "status", 200) for each in outcomes] == [200, 500, 200]
    assert "ValueError: a bug" in caplog.text


def test_a_bug_in_the_runtime_is_an_internal_error_as_in_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    with Program.load(host_guests.moody()) as program:
        real = program._call

        def broken(inputs: Any, *more: Any) -> Any:
            if any((piece == 13).any() for piece in inputs[0]):
                raise ValueError("a bug")
            return real(inputs, *more)

        monkeypatch.setattr(program, "_call", broken)
        _, outcomes = as_one_batch(program, [1, 13, 2])
    assert [getattr(each, "status", 200) for each in outcomes] == [200, 500, 200]
    assert (outcomes[1].kind, outcomes[1].message) == ("InternalServerError", "internal error; see the server log")
