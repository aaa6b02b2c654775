"""An unexpected exception in the Triton model: the error of its own request, with the traceback in the log.

Triton's own module exists only in its stub, and no request makes the model fail in this way, so a stand-in is used.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portalis.backend import GuestTimeout
from tests.backend import host_guests
from tests.backend.limits import in_time
from tests.running.waiting import PATIENCE_S


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        if (array == 13).any():
            raise MemoryError("no shared memory")
        self._name, self.array = name, array.copy()

    def name(self) -> str:
        return self._name

    def is_cpu(self) -> bool:
        return True

    def as_numpy(self) -> np.ndarray:
        if (self.array == 7).any():
            raise RuntimeError("a bug")
        return self.array


class TritonError:
    INTERNAL, INVALID_ARG, UNAVAILABLE, CANCELLED = "INTERNAL", "INVALID_ARG", "UNAVAILABLE", "CANCELLED"

    def __init__(self, text: str, code: str) -> None:
        self.text, self.code = text, code


class Response:
    def __init__(self, tensors: Any = (), error: TritonError | None = None) -> None:
        self.tensors, self.error = tensors, error


class TritonModelException(Exception):
    pass


class Request:
    """A request.

    `senders` is whether this Triton allows responses before `execute` returns, `limit_s` its time limit.
    """

    def __init__(self, value: float, senders: bool = True, limit_s: float = PATIENCE_S) -> None:
        array = np.array([[value]], np.float32)
        self._tensor = object.__new__(Tensor)
        self._tensor._name, self._tensor.array = "x", array
        self._senders = senders
        self._limit_ms = 1000 * limit_s
        self.sent: list[Response] = []

    def inputs(self) -> list[Tensor]:
        return [self._tensor]

    def parameters(self) -> str:
        return json.dumps({"wasm.timeout_ms": self._limit_ms})

    def timeout(self) -> int:
        return 0

    def get_response_sender(self) -> Any:
        if not self._senders:
            raise TritonModelException("only when the model is using the decoupled transaction policy")
        return types.SimpleNamespace(send=lambda response, flags: self.sent.append(response))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    metric = types.SimpleNamespace(increment=lambda _: None, set=lambda _: None)
    family = types.SimpleNamespace(Metric=lambda labels: metric)
    stand_in = types.ModuleType("triton_python_backend_utils")
    vars(stand_in).update(
        Tensor=Tensor,
        TritonError=TritonError,
        InferenceResponse=Response,
        InferenceRequest=type("InferenceRequest", (), {}),
        TritonModelException=TritonModelException,
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
        Logger=types.SimpleNamespace(log_info=lambda _: None),
        MetricFamily=type("MetricFamily", (), {"COUNTER": 0, "GAUGE": 1, "__new__": lambda cls, **_: family}),
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stand_in)
    monkeypatch.delitem(sys.modules, "portalis.backend.triton.model", raising=False)
    triton_model = importlib.import_module("portalis.backend.triton.model")
    folder = tmp_path / "1"
    folder.mkdir()
    (folder / "model.wasm").write_bytes(host_guests.moody())
    config = {
        "max_batch_size": 64,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}],
        "parameters": {"wasm.timeout_ms": {"string_value": str(1000 * PATIENCE_S)}},
    }
    model = triton_model.TritonPythonModel()
    arguments = {"model_name": "moody", "model_version": "1", "model_repository": str(tmp_path)}
    model.initialize({**arguments, "model_config": json.dumps(config)})
    yield model
    model.finalize()
    monkeypatch.delitem(sys.modules, "portalis.backend.triton.model")


def message(response: Response) -> Any:
    if response.error is not None:
        return response.error.code, response.error.text
    return response.tensors[0].array.tolist()


INTERNAL = ("INTERNAL", "internal error; see the server log")


def test_an_exception_of_one_request_is_its_own(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        with caplog.at_level(logging.ERROR):
            responses = model.execute([Request(v) for v in (1, 7, 2, 13, 3)])  # 7 cannot be read, 13 not be sent
        assert [message(r) for r in responses] == [[[1]], INTERNAL, [[2]], INTERNAL, [[3]]]
        assert "RuntimeError: a bug" in caplog.text and "MemoryError: no shared memory" in caplog.text


@pytest.mark.parametrize("senders", [True, False])
def test_requests_of_a_failed_batch_are_answered_once_each(model: Any, senders: bool) -> None:
    def check(limit_s: float) -> None:
        requests = [Request(v, senders, limit_s) for v in (-2, 1, -1, 13, 2)]
        responses = model.execute(requests)
        answers = [request.sent or [response] for request, response in zip(requests, responses)]
        assert all(len(each) == 1 and each[0] is not None for each in answers)
        assert all((response is None) is senders for response in responses)
        codes = [each[0].error and each[0].error.code for each in answers]
        if "UNAVAILABLE" in codes[1:]:
            raise GuestTimeout(str(codes))
        assert codes == ["UNAVAILABLE", None, "INTERNAL", "INTERNAL", None]

    in_time(check, 0.2)
