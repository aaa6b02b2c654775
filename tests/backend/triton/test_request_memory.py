"""Tensors of requests in shared memory, in several buffers, and over HTTP in binary and in JSON."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.backend.triton.conftest import Server, only

pytestmark = pytest.mark.triton
F32 = np.float32


@contextmanager
def shared_memory(server: Server, arrays: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """Regions that the server knows by the names of `arrays`, with their contents."""
    import tritonclient.utils.shared_memory as shm

    regions = {}
    try:
        for name, array in arrays.items():
            key = f"portalis-test-{os.getpid()}-{name}"
            regions[name] = shm.create_shared_memory_region(name, key, array.nbytes)
            shm.set_shared_memory_region(regions[name], [array])
            server.client.register_system_shared_memory(name, f"/{key}", array.nbytes)
        yield regions
    finally:
        server.client.unregister_system_shared_memory()
        for region in regions.values():
            shm.destroy_shared_memory_region(region)


def call(server: Server, model: str, x: np.ndarray, room: int) -> Callable[[], Any]:
    """A request whose input and output are in the regions x and y."""
    import tritonclient.grpc as grpc

    given = grpc.InferInput("x", list(x.shape), "FP32")
    given.set_shared_memory("x", x.nbytes)
    wanted = grpc.InferRequestedOutput("y")
    wanted.set_shared_memory("y", room)
    return partial(server.client.infer, server.name(model), [given], outputs=[wanted])


def test_tensors_lie_in_shared_memory(server: Server) -> None:
    import tritonclient.utils.shared_memory as shm

    x = np.arange(2000, dtype=F32).reshape(2, 1000)
    with shared_memory(server, {"x": x, "y": np.zeros_like(x)}) as regions:
        for _ in range(2):
            call(server, "echo_fp32", x, x.nbytes)()
        np.testing.assert_array_equal(shm.get_contents_as_numpy(regions["y"], F32, x.shape), x)


def test_an_output_for_which_there_is_no_room_is_the_error_of_its_request(server: Server) -> None:
    from tritonclient.utils import InferenceServerException

    x = np.arange(2000, dtype=F32).reshape(2, 1000)
    with shared_memory(server, {"x": x, "y": np.zeros_like(x)}):
        with pytest.raises(InferenceServerException, match="shared memory"):
            call(server, "echo_fp32", x, 100)()
        np.testing.assert_array_equal(server.infer("echo_fp32", x=x)["y"], x)


@pytest.mark.parametrize("binary", [True, False])
def test_texts_and_numbers_come_over_http(server: Server, binary: bool) -> None:
    import tritonclient.http as http

    numbers = np.random.default_rng(1).random(
        (2, 60_000 if not binary else 3_000_000), F32
    )  # Triton receives it in pieces
    texts = np.array([[b"one", "zwölf".encode(), b""]], dtype=object)
    client = http.InferenceServerClient(server.triton.http_url)
    for model, x, datatype in (("echo_fp32", numbers, "FP32"), ("echo_bytes", texts, "BYTES")):
        given = http.InferInput("x", list(x.shape), datatype)
        given.set_data_from_numpy(x, binary_data=binary)
        wanted = http.InferRequestedOutput("y", binary_data=binary)
        y = client.infer(server.name(model), [given], outputs=[wanted]).as_numpy("y")
        if y.dtype == object and not binary:
            y = np.array([[text.encode() for text in y[0]]], dtype=object)
        np.testing.assert_array_equal(y, x)


def test_requests_of_one_batch_may_lie_in_different_places(server: Server) -> None:
    import tritonclient.utils.shared_memory as shm

    x, values = np.full((1, 1), 7, F32), [2.0, 3.0, 4.0]
    with shared_memory(server, {"x": x, "y": np.zeros_like(x)}) as regions:
        others = [partial(server.infer, "batching", x=np.array([[v]], F32)) for v in values]
        answers = server.together([call(server, "batching", x, x.nbytes), *others])
        assert [answer["y"].tolist() for answer in answers[1:]] == [[[v]] for v in values]
        assert shm.get_contents_as_numpy(regions["y"], F32, x.shape).tolist() == [[7]]


@only(["native"])
def test_what_triton_counts_of_a_model_is_true(server: Server) -> None:
    """For a model in the Python engine, the Python backend reports the counts to Triton."""
    url = f"http://{server.triton.http_url}/v2/models/{server.name('sum')}/stats"

    def counted() -> dict[str, Any]:
        with urllib.request.urlopen(url) as page:
            found: dict[str, Any] = json.load(page)["model_stats"][0]
        return found

    def stats(kind: str, key: str) -> int:
        return int(counted()["inference_stats"][kind].get(key, 0))

    server.infer("sum", x=np.ones((1, 4), F32))
    server.eventually(lambda: stats("success", "count") > 0)  # what is counted is counted after the answer
    success, fail, rows = stats("success", "count"), stats("fail", "count"), int(counted()["inference_count"])
    times = {part: stats(part, "ns") for part in ("compute_input", "compute_infer", "compute_output")}
    for size in (1, 2, 3):
        server.infer("sum", x=np.ones((size, 4), F32))
    server.error("sum", {"parameters": {"wasm.timeout_ms": 0}}, x=np.ones((1, 4), F32))
    server.eventually(lambda: stats("success", "count") == success + 3 and stats("fail", "count") == fail + 1)
    server.eventually(lambda: int(counted()["inference_count"]) == rows + 6)
    assert all(stats(part, "ns") >= before > 0 for part, before in times.items())
