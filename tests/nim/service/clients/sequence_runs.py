"""Programs that send sequences, as Triton's ``simple_*_sequence_*`` examples do."""

from __future__ import annotations

import asyncio
import queue
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from tests.running.waiting import PATIENCE_S

from .target import Target

VALUES = (11, 7, 5, 3, 2, 0, 1)


@dataclass(frozen=True)
class Sequence:
    """A sequence: its model, its correlation id, its inputs, and the outputs that must come."""

    model: str
    id: int | str
    values: list[int]
    expected: list[int]


def sequences(dynamic: bool) -> list[Sequence]:
    """Two sequences with numbers and one with a text as correlation id."""
    values = list(VALUES)
    negative = [-value for value in values]
    model = "simple_dyna_sequence" if dynamic else "simple_sequence"
    first, second = (1000, 1001) if dynamic else (2000, 2001)
    found = [
        Sequence(model, first, [0, *values], [1, *values[:-1], values[-1] + first * dynamic]),
        Sequence(model, second, [100, *negative], [101, *negative[:-1], negative[-1] + second * dynamic]),
    ]
    if dynamic:
        sums = [int(each) for each in np.cumsum([20, *negative])]
        found.append(Sequence("simple_string_dyna_sequence", "1002", [20, *negative], [*sums[:-1], sums[-1] + 1002]))
    else:
        found.append(Sequence(model, str(uuid.uuid4()), [20, *negative], [21, *negative]))
    return found


def _requests(library: Any, sequence: Sequence) -> Iterator[dict[str, Any]]:
    for number, value in enumerate(sequence.values):
        tensor = library.InferInput("INPUT", [1, 1], "INT32")
        tensor.set_data_from_numpy(np.array([[value]], np.int32))
        yield {
            "model_name": sequence.model,
            "inputs": [tensor],
            "outputs": [library.InferRequestedOutput("OUTPUT")],
            "sequence_id": sequence.id,
            "sequence_start": number == 0,
            "sequence_end": number == len(sequence.values) - 1,
        }


def sequences_one_by_one(target: Target, *, protocol: str, dynamic: bool = False) -> None:
    """Each request waits for the response to the one before."""
    library = triton_http if protocol == "http" else triton_grpc
    with target.http_client() if protocol == "http" else target.grpc_client() as client:
        for sequence in sequences(dynamic):
            returned = [
                int(client.infer(**request).as_numpy("OUTPUT")[0, 0]) for request in _requests(library, sequence)
            ]
            assert returned == sequence.expected, sequence


def sequences_in_a_stream(target: Target, *, dynamic: bool = False) -> None:
    """All requests in one stream; their ids tell the responses apart."""
    responses: queue.Queue[tuple[Any, Any]] = queue.Queue()
    all_sequences = sequences(dynamic)
    with target.grpc_client() as client:
        client.start_stream(lambda result, error: responses.put((result, error)), stream_timeout=PATIENCE_S)
        for place, sequence in enumerate(all_sequences):
            for number, request in enumerate(_requests(triton_grpc, sequence)):
                client.async_stream_infer(request_id=f"{place}_{number}", **request)
        returned: dict[str, int] = {}
        for _ in range(sum(len(sequence.values) for sequence in all_sequences)):
            result, error = responses.get(timeout=PATIENCE_S)
            assert error is None, error
            returned[result.get_response().id] = int(result.as_numpy("OUTPUT")[0, 0])
    _check_by_id(all_sequences, returned)


def sequences_in_a_stream_from_coroutines(target: Target, *, dynamic: bool = False) -> None:
    """The same as `sequences_in_a_stream` with the asyncio client."""
    all_sequences = sequences(dynamic)
    _check_by_id(all_sequences, asyncio.run(_stream(target, all_sequences)))


async def _stream(target: Target, all_sequences: list[Sequence]) -> dict[str, int]:
    import tritonclient.grpc.aio as triton_grpc_aio

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for place, sequence in enumerate(all_sequences):
            for number, request in enumerate(_requests(triton_grpc_aio, sequence)):
                yield {"request_id": f"{place}_{number}", **request}

    returned = {}
    async with triton_grpc_aio.InferenceServerClient(target.grpc) as client:
        async for result, error in client.stream_infer(requests(), stream_timeout=PATIENCE_S):
            assert error is None, error
            returned[result.get_response().id] = int(result.as_numpy("OUTPUT")[0, 0])
    return returned


def _check_by_id(all_sequences: list[Sequence], returned: dict[str, int]) -> None:
    for place, sequence in enumerate(all_sequences):
        outputs = [returned[f"{place}_{number}"] for number in range(len(sequence.values))]
        assert outputs == sequence.expected, sequence
