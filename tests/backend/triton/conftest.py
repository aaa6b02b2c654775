"""One real Triton with many models for the tests in this folder, and how they talk to it."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from portalis.tritonserver import TritonServer
from tests.backend.triton import models
from tests.running import waiting

NAMES = {"float32": "FP32", "float64": "FP64", "float16": "FP16", "bool": "BOOL", "object": "BYTES", "bfloat16": "BF16"}


class Server:
    """A running server and a gRPC client."""

    def __init__(self, triton: TritonServer) -> None:
        import tritonclient.grpc as grpc

        self.triton = triton
        self._grpc = grpc
        self.client = grpc.InferenceServerClient(triton.grpc_url)

    def infer(self, model: str, *, outputs: list[str] | None = None, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """One call; `inputs` by name."""
        return self.request(model, inputs, outputs=outputs)

    def request(
        self, model: str, inputs: dict[str, np.ndarray], outputs: list[str] | None = None, **options: Any
    ) -> dict[str, np.ndarray]:
        tensors = []
        for name, array in inputs.items():
            datatype = NAMES.get(array.dtype.name, array.dtype.name.upper())
            tensor = self._grpc.InferInput(name, list(array.shape), datatype)
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        wanted = [self._grpc.InferRequestedOutput(name) for name in outputs] if outputs else None
        result = self.client.infer(model, tensors, outputs=wanted, **options)
        return {o.name: result.as_numpy(o.name) for o in result.get_response().outputs}

    def in_time(self, model: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of a good request to a model with a short time limit: on a busy machine one may be late."""
        from tritonclient.utils import InferenceServerException

        def outputs() -> dict[str, np.ndarray] | None:
            try:
                return self.request(model, inputs)
            except InferenceServerException as problem:
                if "time limit" not in problem.message():
                    raise
                return None

        return waiting.until(outputs) or {}

    def error(self, model: str, options: dict[str, Any] | None = None, **inputs: np.ndarray) -> tuple[str, str]:
        """The (code, message) of a call that must fail."""
        from tritonclient.utils import InferenceServerException

        with pytest.raises(InferenceServerException) as caught:
            self.request(model, inputs, **(options or {}))
        message = caught.value.message()
        assert "Traceback" not in message
        return str(caught.value.status()), message

    def together(self, calls: list[Callable[[], Any]]) -> list[Any]:
        """The results, or errors, of calls made at the same time."""
        with ThreadPoolExecutor(len(calls)) as pool:
            futures: list[Future[Any]] = [pool.submit(call) for call in calls]
        return [f.exception() or f.result() for f in futures]

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(self.triton.metrics_url) as page:
            lines = page.read().decode().splitlines()
        return {k: float(v) for k, _, v in (line.rpartition(" ") for line in lines if not line.startswith("#"))}

    def metric(self, name: str, model: str) -> float:
        """The sum over the model's processes. Raises KeyError for a metric that was never reported yet."""
        found = [value for key, value in self.metrics().items() if key.startswith(f'{name}{{model="{model}",')]
        if not found:
            raise KeyError(name)
        return sum(found)

    def eventually(self, holds: Callable[[], bool]) -> None:
        """Wait for what is reported in the background."""

        def found() -> bool:
            with contextlib.suppress(KeyError):  # a metric that was never reported yet
                return holds()
            return False

        waiting.until(found, every_s=0.1)

    def log_has(self, text: str) -> bool:
        return text in self.triton.log()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, wasm_backends: Path) -> Iterator[Server]:
    repository = tmp_path_factory.mktemp("models")
    models.good_repository(repository)
    with TritonServer(repository, backend_directory=wasm_backends, start_timeout_s=waiting.PATIENCE_S) as triton:
        yield Server(triton)


@pytest.fixture
def bfloat16() -> Any:
    return ml_dtypes.bfloat16
