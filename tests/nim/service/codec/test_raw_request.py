"""Raw binary requests: the shape is deduced from the size of the body, as in Triton."""

from __future__ import annotations

import numpy as np
import pytest

from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.interface.interface import Convention, Interface, TensorSpec
from portalis.nim.service.codec.parsed_request import ParsedRequest
from portalis.nim.service.codec.request import parse_request
from portalis.nim.service.request_errors import RequestError


def interface(*dims: tuple[int, ...], kind: str = "FP32", batch: int = 0) -> Interface:
    inputs = tuple(TensorSpec(f"x{i}", DTYPES[kind], each) for i, each in enumerate(dims))
    outputs = (TensorSpec("y", DTYPES["FP32"], (-1,)), TensorSpec("z", DTYPES["BYTES"], (1,)))
    return Interface("f", Convention.DLPACK, inputs, outputs, max_batch_size=batch)


def parsed(model: Interface, body: bytes, header: str | None = "0") -> ParsedRequest:
    return parse_request(model, body, header, v2=True)


@pytest.mark.parametrize(
    ("dims", "batch", "elements", "shape"),
    [
        ((-1,), 0, 3, (3,)),
        ((-1,), 8, 3, (1, 3)),
        ((2, 3), 4, 6, (1, 2, 3)),
        ((2, -1, 3), 0, 12, (2, 2, 3)),
        ((-1, 2), 0, 0, (0, 2)),
        ((1,), 0, 1, (1,)),
        ((), 2, 1, (1,)),
    ],
)
def test_the_body_is_the_only_input(dims: tuple[int, ...], batch: int, elements: int, shape: tuple[int, ...]) -> None:
    values = np.arange(elements, dtype=np.float32)
    request = parsed(interface(dims, batch=batch), values.tobytes())
    assert request.inputs["x0"].shape == shape
    np.testing.assert_array_equal(request.inputs["x0"].ravel(), values)
    assert [(each.name, each.binary) for each in request.outputs] == [("y", True), ("z", True)]
    assert request.id is None and request.timeout_s is None


@pytest.mark.parametrize("header", ["0", "00", "+0", "-0", " 0 ", None])
def test_a_request_without_json_is_raw(header: str | None) -> None:
    body = b"" if header is None else bytes(4)
    assert parsed(interface((-1,)), body, header).inputs["x0"].size == len(body) // 4


@pytest.mark.parametrize("batch", [0, 4])
def test_a_body_of_bytes_is_one_element(batch: int) -> None:
    for body in (b"hello\n", b"", b"\xff\0" * 70_000):
        array = parsed(interface((1,), kind="BYTES", batch=batch), body).inputs["x0"]
        assert array.shape == (*[1] * (batch > 0), 1) and array.item() == body


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        (interface((-1,), (-1,)), 4, "Raw request must only have 1 input"),
        (interface(), 0, "Raw request must only have 1 input"),
        (interface((-1, -1)), 4, "The shape of the raw input 'x0' can not be deduced because there are more than one"),
        (interface((-1,), kind="BYTES"), 4, "For BYTE datatype raw input 'x0', the model must have input shape [1]"),
        (interface((2,), kind="BYTES"), 4, "For BYTE datatype raw input 'x0', the model must have input shape [1]"),
        (interface((-1,)), 5, "Expected 4, got 5"),
        (interface((2, 3)), 48, "Expected 24, got 48"),
        (interface((2, -1, 3)), 52, "Expected 48, got 52"),
        (interface((-1, 0)), 4, "Expected 0, got 4"),
        (interface((-1,), kind="BOOL"), 1, ""),
    ],
)
def test_a_body_that_does_not_match_is_rejected(model: Interface, size: int, message: str) -> None:
    if not message:
        assert parsed(model, bytes(size)).inputs["x0"].shape == (size,)
        return
    with pytest.raises(RequestError) as caught:
        parsed(model, bytes(size))
    assert caught.value.status == 400 and message in caught.value.message


def test_under_v1_no_request_is_raw() -> None:
    with pytest.raises(RequestError, match="not valid JSON"):
        parse_request(interface((-1,)), b"", "0")
