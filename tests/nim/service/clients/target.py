"""What the client programs talk to, and the tensors of the model ``simple`` that most of them use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from tests.running.waiting import PATIENCE_S

SHAPE = [1, 16]


@dataclass(frozen=True)
class Target:
    """A server: ``host:port`` of both protocols, a directory with images to classify, and the address of the metrics."""

    http: str
    grpc: str
    images: Path
    metrics: str = ""

    def http_client(self, **options: Any) -> triton_http.InferenceServerClient:
        """Triton's client for HTTP."""
        return triton_http.InferenceServerClient(self.http, network_timeout=PATIENCE_S, **options)

    def grpc_client(self, **options: Any) -> triton_grpc.InferenceServerClient:
        """Triton's client for gRPC."""
        return triton_grpc.InferenceServerClient(self.grpc, **options)


def operands(second: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Sixteen numbers, and sixteen times `second`."""
    return np.arange(16, dtype=np.int32).reshape(SHAPE), np.full(SHAPE, second, np.int32)


def check_results(first: Any, second: Any, result: Any) -> None:
    """Compare the two outputs of a result with the sum and the difference, as numbers."""
    a, b = np.asarray(first).astype(np.int64), np.asarray(second).astype(np.int64)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0").astype(np.int64), a + b)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1").astype(np.int64), a - b)


def http_tensors(first: np.ndarray, second: np.ndarray) -> tuple[list[Any], list[Any]]:
    """Inputs, the first as JSON and the second binary, and requested outputs, the first binary and the second as
    JSON."""
    kind = "BYTES" if first.dtype == object else "INT32"
    inputs = [triton_http.InferInput(f"INPUT{number}", SHAPE, kind) for number in (0, 1)]
    inputs[0].set_data_from_numpy(first, binary_data=False)
    inputs[1].set_data_from_numpy(second, binary_data=True)
    outputs = [triton_http.InferRequestedOutput(f"OUTPUT{number}", binary_data=not number) for number in (0, 1)]
    return inputs, outputs


def grpc_tensors(first: np.ndarray, second: np.ndarray) -> tuple[list[Any], list[Any]]:
    """Inputs and requested outputs."""
    kind = "BYTES" if first.dtype == object else "INT32"
    inputs = [
        triton_grpc.InferInput(f"INPUT{number}", SHAPE, kind).set_data_from_numpy(array)
        for number, array in enumerate((first, second))
    ]
    return inputs, [triton_grpc.InferRequestedOutput(f"OUTPUT{number}") for number in (0, 1)]


def texts(numbers: np.ndarray) -> np.ndarray:
    """The numbers as BYTES elements."""
    return np.array([str(number).encode() for number in numbers.ravel()], object).reshape(numbers.shape)
