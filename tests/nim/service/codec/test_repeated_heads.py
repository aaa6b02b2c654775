"""A head that was decoded before leads to the same request, or the same error, as decoding it again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.interface.interface import Convention, Interface, TensorSpec
from portalis.nim.service.codec import ParsedRequest, parse_request
from portalis.nim.service.codec.repeated_heads import MAX_HEADS, RepeatedHeads
from portalis.nim.service.request_errors import RequestError

TENSORS = [("x", "FP32", 4), ("n", "INT64", 8), ("b", "BOOL", 1), ("s", "BYTES", 5), ("h", "BF16", 2)]
INTERFACE = Interface(
    "f",
    Convention.DLPACK,
    tuple(TensorSpec(name, DTYPES[kind], (-1,), optional=True) for name, kind, _ in TENSORS),
    (TensorSpec("y", DTYPES["FP32"], (-1,)),),
    max_batch_size=4,
)


def outcome(parse: Any, body: bytes, length: Any) -> Any:
    try:
        request: ParsedRequest = parse(body, length)
    except RequestError as error:
        return error.status, error.message
    arrays = {name: (array.dtype, array.shape, array.tolist()) for name, array in request.inputs.items()}
    return arrays, request.id, request.outputs, request.timeout_s, request.guest_timeout_s, request.body_bytes


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, int]:
    """A body with raw tensors, and the length of its JSON."""
    inputs: list[dict[str, Any]] = []
    tail = b""
    for name, kind, size in draw(st.lists(st.sampled_from(TENSORS), unique=True, max_size=3)):
        count = draw(st.integers(0, 3))
        tensor: dict[str, Any] = {"name": name, "datatype": kind, "shape": [1, count]}
        if draw(st.booleans()) and kind != "BF16":
            inputs.append({**tensor, "data": ["a" if kind == "BYTES" else kind == "BOOL"] * count})
            continue
        data = (
            b"\1\0\0\0z" * count
            if kind == "BYTES"
            else bytes(draw(st.sampled_from([0, 1])) for _ in range(size * count))
        )
        inputs.append({**tensor, "parameters": {"binary_data_size": len(data)}})
        tail += data
    parameters = draw(st.sampled_from([{}, {"timeout": 5_000_000}, {"binary_data_output": True}, {"sequence_id": 3}]))
    document: dict[str, Any] = {"inputs": inputs, "parameters": parameters}
    if draw(st.booleans()):
        document["id"] = draw(st.sampled_from(["", "a"]))
    text = json.dumps(document).encode()
    return text + tail, len(text)


@given(bodies(), st.binary(max_size=9), st.integers(0, 9))
def test_a_repeated_request_is_the_same(sent: tuple[bytes, int], more: bytes, less: int) -> None:
    body, length = sent
    heads = RepeatedHeads(INTERFACE)
    variants = [body, body, body + more, body[: max(length, len(body) - less)], body]
    for each in variants:
        expected = outcome(lambda b, n: parse_request(INTERFACE, b, n, v2=True), each, str(length))
        header = str(length).encode()
        assert outcome(lambda b, n: heads.parse(b, n, v2=True), each, header) == expected


@pytest.mark.parametrize("header", [None, b"", b"x", b"+3", b"99999999", b"0", b" 2 ", "²".encode("latin-1")])
def test_any_header_is_read_or_rejected_as_without_repetition(header: bytes | None) -> None:
    text = None if header is None else header.decode("latin-1")
    heads = RepeatedHeads(INTERFACE)
    for body in (b"", b"{}", b'{"inputs":[]}'):
        expected = outcome(lambda b, n: parse_request(INTERFACE, b, n, v2=True), body, text)
        assert outcome(lambda b, n: heads.parse(b, n, v2=True), body, header) == expected


def test_the_arrays_of_a_repeated_head_are_views_of_their_own_body() -> None:
    heads = RepeatedHeads(INTERFACE)
    parameters = {"binary_data_size": 8}
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": parameters}
    text = json.dumps({"inputs": [tensor]}).encode()
    for number in range(3):
        body = text + np.full(2, number, "<f4").tobytes()
        array = heads.parse(body, str(len(text)).encode(), v2=True).inputs["x"]
        assert array.tolist() == [[number, number]]
        assert np.may_share_memory(array, np.frombuffer(body, np.uint8))


def test_the_number_of_kept_heads_is_bounded() -> None:
    heads = RepeatedHeads(INTERFACE)
    for count in range(3 * MAX_HEADS):
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, count], "parameters": {"binary_data_size": 4 * count}}
        text = json.dumps({"inputs": [tensor]}).encode()
        heads.parse(text + bytes(4 * count), str(len(text)).encode(), v2=True)
        assert len(heads._heads) <= MAX_HEADS
