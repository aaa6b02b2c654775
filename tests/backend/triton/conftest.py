"""One real Triton with many models for the tests in this folder, and how they talk to it.

A test that takes `server` runs for each engine: `native` (in the server's process) and `python` (Triton's Python backend). What
concerns one of them alone says so with `only`.
"""

from __future__ import annotations

import contextlib
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from portalis.tritonserver import TritonServer
from tests.backend.triton import models
from tests.running import waiting

NAMES = {"float32": "FP32", "float64": "FP64", "float16": "FP16", "bool": "BOOL", "object": "BYTES", "bfloat16": "BF16"}


only = partial(pytest.mark.parametrize, "server", indirect=True)
"""``only(argvalues=["python"])`` runs a test only for these engines."""


class Server:
    """A running server and a gRPC client. With an `engine`, models are those of `models.ENGINES` for it; those that are not
    in `loaded` are loaded when they are named first."""

    def __init__(self, triton: TritonServer, engine: str = "", loaded: set[str] | None = None) -> None:
        import tritonclient.grpc as grpc

        self.triton = triton
        self.engine = engine
        self._loaded = loaded
        self._lock = threading.Lock()
        self._grpc = grpc
        self.client = grpc.InferenceServerClient(triton.grpc_url)

    def name(self, model: str) -> str:
        """The name of the model in the repository."""
        name = f"{self.engine}_{model}" if self.engine else model
        if self._loaded is not None:
            with self._lock:
                if name not in self._loaded:
                    self.client.load_model(name, client_timeout=waiting.PATIENCE_S)
                    self._loaded.add(name)
        return name

    def infer(self, model: str, *, outputs: list[str] | None = None, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Call a model with `inputs` by name."""
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
        result = self.client.infer(self.name(model), tensors, outputs=wanted, **options)
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
        """The results or errors of concurrent calls."""
        with ThreadPoolExecutor(len(calls)) as pool:
            futures: list[Future[Any]] = [pool.submit(call) for call in calls]
        return [f.exception() or f.result() for f in futures]

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(self.triton.metrics_url) as page:
            lines = page.read().decode().splitlines()
        return {k: float(v) for k, _, v in (line.rpartition(" ") for line in lines if not line.startswith("#"))}

    def metric(self, name: str, model: str) -> float:
        """The sum over the model's processes. Raises KeyError for a metric that was not reported yet."""
        start = f'{name}{{model="{self.name(model)}",'
        found = [value for key, value in self.metrics().items() if key.startswith(start)]
        if not found:
            raise KeyError(name)
        return sum(found)

    def eventually(self, holds: Callable[[], bool]) -> None:
        """Wait for a value that is reported in the background."""

        def found() -> bool:
            with contextlib.suppress(KeyError):  # the metric was not reported yet
                return holds()
            return False

        waiting.until(found, every_s=0.1)

    def log_has(self, text: str) -> bool:
        return text in self.triton.log()


@pytest.fixture(scope="package")
def triton(tmp_path_factory: pytest.TempPathFactory, wasm_backends: Path) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("models")
    models.good_repository(repository)
    with TritonServer(repository, backend_directory=wasm_backends, model_control="explicit") as triton:
        yield triton


@pytest.fixture(scope="package")
def loaded() -> set[str]:
    return set()


@pytest.fixture(params=models.ENGINES)
def server(triton: TritonServer, loaded: set[str], request: pytest.FixtureRequest) -> Server:
    return Server(triton, request.param, loaded)


@pytest.fixture
def bfloat16() -> Any:
    return ml_dtypes.bfloat16
