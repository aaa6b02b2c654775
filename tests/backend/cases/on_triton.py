"""Runs rows on a real Triton, by the native engine or by the Python engine: one server with a model for each row."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import ml_dtypes
import numpy as np

from portalis.backend.errors import GuestStatus, GuestTimeout, HostBusy, InputError, MemoryLimit, WasmError
from portalis.backend.interface.discovery import discover
from portalis.backend.interface.dtypes import BF16
from portalis.backend.interface.interface import Interface, TensorSpec
from portalis.backend.wasm.binary import read_module
from portalis.tritonserver import TritonServer
from tests.backend.cases.case import Call, Case, Failure, Outcome, Tensors, expected, late
from tests.backend.triton import models
from tests.running import waiting

CODES: dict[type[WasmError], str] = {
    InputError: "INVALID_ARGUMENT",
    GuestStatus: "INVALID_ARGUMENT",
    MemoryLimit: "INVALID_ARGUMENT",
    GuestTimeout: "UNAVAILABLE",
    HostBusy: "UNAVAILABLE",
}
"""What a client sees of each kind of error; INTERNAL of the others."""
LATE = "UNAVAILABLE"
DELAY_US = 30_000  # how long Triton waits for the rest of a batch
PATIENT_US = 20_000_000  # where all requests of a call fit together


SAMPLE = (
    "command-BYTES-present-none-request",
    "written_and_trapped-command-BYTES-none-request",
    "elementwise-BF16-broadcast-joined-instance",
    "dlpack-BYTES-rank_4-none-request",
    "status_said-dlpack-BYTES-joined-instance",
)
"""The rows that the Python engine serves, too."""


def seen(answer: Tensors | Failure, got: Outcome) -> Outcome:
    """The form of an answer for a client: the error's code instead of its kind, and the same message; for errors of
    Triton itself only the code."""
    wanted = expected(answer, got)
    if not isinstance(answer, Failure) or not isinstance(wanted, tuple):
        return wanted
    if answer.by_triton and isinstance(got, tuple):
        return "INVALID_ARGUMENT", got[1]
    return CODES.get(answer.kind, "INTERNAL"), wanted[1]


def model_name(case: Case, engine: str) -> str:
    """The name of the model that serves a row."""
    return f"{engine}-{case.name}"


def write_model(repository: Path, case: Case, engine: str) -> None:
    """The row as a model of a repository."""
    interface = discover(read_module(case.module), where=case.name)
    config = models.BARE + models.parameters(
        {"wasm.engine": engine, "wasm.isolation": case.isolation, **dict(map(_parameter, case.limits.items()))}
    )
    if interface.max_batch_size:
        config += f"max_batch_size: {interface.max_batch_size}\n"
    if case.dims:
        config += "".join(
            f'{side} {{ name: "{s.name}" data_type: {s.dtype.triton} dims: {list(case.dims[s.name])}{_optional(s)} }}\n'
            for side, specs in (("input", interface.inputs), ("output", interface.outputs))
            for s in specs
        )
    all_good = not any(isinstance(answer, Failure) for call in case.calls for answer in call.answers)
    rows = [sum(_rows(request) for request in call.requests) for call in case.calls if len(call.requests) > 1]
    if rows and interface.max_batch_size:
        config += f"dynamic_batching {{ preferred_batch_size: [{min(rows[0], interface.max_batch_size)}] max_queue_delay_microseconds: {PATIENT_US if all_good else DELAY_US} }}\n"
    models.write(repository, model_name(case, engine), case.module, config)


def _parameter(limit: tuple[str, Any]) -> tuple[str, str]:
    name, value = limit
    return ("wasm.timeout_ms", str(value * 1000)) if name == "timeout_s" else (f"wasm.{name}", str(value))


def _optional(spec: TensorSpec) -> str:
    return " optional: true" if spec.optional else ""


def _rows(request: Tensors) -> int:
    return next(iter(request.values())).shape[0]


def _put(answers: SimpleQueue[tuple[int | None, Any, Any]], number: int, result: Any, error: Any) -> None:
    answers.put((number, result, error))


class Client:
    """Sends the requests of rows to one server."""

    def __init__(self, triton: TritonServer) -> None:
        import tritonclient.grpc as grpc

        self.triton = triton
        self._grpc = grpc
        self._client = grpc.InferenceServerClient(triton.grpc_url)

    def run(self, case: Case, engine: str) -> list[list[Outcome]]:
        """The outcomes of each call; a call is made again while a request that is to go well is late."""
        interface = discover(read_module(case.module), where=case.name)
        model, found = model_name(case, engine), []
        for call in case.calls:
            alone = replace(case, calls=(call,))
            found.append(waiting.until(partial(self._in_time, model, interface, alone)))
        return found

    def _in_time(self, model: str, interface: Interface, case: Case) -> list[Outcome]:
        """The outcomes of the one call; none where one of the requests was late."""
        found = self._outcomes(model, interface, case.calls[0])
        return [] if "timeout_s" in case.limits and late(case, [found], LATE) else found

    def executions(self, model: str) -> int:
        """The number of executions of a model: joined requests count once."""
        statistics = self._client.get_inference_statistics(model).model_stats[0]
        return int(statistics.execution_count)

    def eventually(self, model: str, lines: list[str]) -> None:
        """Wait until the server's log has just these lines of what the guest of `model` wrote."""
        before = f"wasm model {model} version 1: "

        def written() -> list[str]:
            texts = [
                json.loads(line[line.index('"') :]) for line in self.triton.log().splitlines() if before + "std" in line
            ]
            return [text.removeprefix(before) for text in texts]

        waiting.until(lambda: written() == lines, lambda: f"{model}: {written()}, not {lines}", every_s=0.1)

    def _outcomes(self, model: str, interface: Interface, call: Call) -> list[Outcome]:
        """The outcomes of requests that are sent at the same time, in their order."""
        requests = [
            [self._input(spec, request[spec.name]) for spec in interface.inputs if spec.name in request]
            for request in call.requests
        ]
        answers: SimpleQueue[tuple[int | None, Any, Any]] = SimpleQueue()
        # the requests of a stream stay in order, but its errors have no code
        ordered = len(requests) > 1 and not any(isinstance(answer, Failure) for answer in call.answers)
        if ordered:
            self._client.start_stream(lambda result, error: answers.put((None, result, error)))
        found: dict[int, Outcome] = {}
        try:
            for number, tensors in enumerate(requests):
                if ordered:
                    self._client.async_stream_infer(model, tensors)
                else:
                    self._client.async_infer(model, tensors, partial(_put, answers, number))
            while len(found) < len(requests):
                place, result, error = answers.get(timeout=waiting.PATIENCE_S)
                place = len(found) if place is None else place
                found[place] = self._error(error) if error is not None else self._outputs(interface, result)
        finally:
            if ordered:
                self._client.stop_stream()
        return [found[number] for number in range(len(requests))]

    def _input(self, spec: TensorSpec, array: np.ndarray) -> Any:
        if not spec.dims:  # a scalar is a vector of one in Triton
            array = array.reshape((*array.shape, 1))
        if spec.dtype is BF16:
            array = array.view(ml_dtypes.bfloat16)
        tensor = self._grpc.InferInput(spec.name, list(array.shape), spec.dtype.name)
        return tensor.set_data_from_numpy(array)

    @staticmethod
    def _error(error: Any) -> Outcome:
        return str(error.status()).removeprefix("StatusCode."), error.message()

    @staticmethod
    def _outputs(interface: Interface, result: Any) -> Outcome:
        response, specs = result.get_response(), {spec.name: spec for spec in interface.outputs}
        found = {}
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True):
            spec, shape = specs[output.name], tuple(output.shape)
            assert output.datatype == spec.dtype.name
            found[output.name] = spec.dtype.numpy.name, shape if spec.dims else shape[:-1], content
        return found
