"""Programs that call the models with BYTES tensors, as Triton's ``simple_*_string_infer_client`` do."""

from __future__ import annotations

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from .target import SHAPE, Target, check_results, grpc_tensors, http_tensors, operands, texts


def _elements() -> list[np.ndarray]:
    """Sixteen texts with a null character, as objects; sixteen times four bytes, as fixed-size elements."""
    return [
        np.array([b"he\x00llo"] * 16, object).reshape(SHAPE),
        np.array([b"\x00\x01\x02\x03"] * 16, np.bytes_).reshape(SHAPE),
    ]


def http_strings(target: Target) -> None:
    """Numbers as texts, and texts with any byte, binary and as JSON."""
    first, second = operands()
    inputs, outputs = http_tensors(texts(first), texts(second))
    with target.http_client() as client:
        check_results(first, second, client.infer("simple_string", inputs, outputs=outputs))
        for array in _elements():
            for binary in (True, False):
                tensor = triton_http.InferInput("INPUT0", SHAPE, "BYTES")
                tensor.set_data_from_numpy(array, binary_data=binary)
                output = triton_http.InferRequestedOutput("OUTPUT0", binary_data=binary)
                returned = client.infer("simple_identity", [tensor], outputs=[output]).as_numpy("OUTPUT0")
                _check_equal(array, returned)


def grpc_strings(target: Target) -> None:
    """Numbers as texts, and texts with any byte."""
    first, second = operands()
    inputs, outputs = grpc_tensors(texts(first), texts(second))
    with target.grpc_client() as client:
        check_results(first, second, client.infer("simple_string", inputs, outputs=outputs))
        for array in _elements():
            tensor = triton_grpc.InferInput("INPUT0", SHAPE, "BYTES").set_data_from_numpy(array)
            output = triton_grpc.InferRequestedOutput("OUTPUT0")
            _check_equal(array, client.infer("simple_identity", [tensor], outputs=[output]).as_numpy("OUTPUT0"))


def _check_equal(sent: np.ndarray, returned: np.ndarray) -> None:
    assert returned.shape == sent.shape
    values = [value if isinstance(value, bytes) else value.encode() for value in returned.ravel()]
    assert values == list(sent.ravel())
