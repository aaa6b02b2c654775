"""Requests that clients repeat: those without data are decoded once, and all others each time."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.interface.interface import Convention, Interface, TensorSpec
from portalis.nim.service.codec import parse_request
from portalis.nim.service.codec.parsed_request import ParsedRequest, RegionSlice
from portalis.nim.service.codec.protobuf_messages import pb
from portalis.nim.service.codec.protobuf_tensors import parse_infer_request
from portalis.nim.service.codec.repeated_requests import MAX_REQUEST_BYTES, MAX_REQUESTS, RepeatedRequests
from portalis.nim.service.request_errors import RequestError

PLACE = {"shared_memory_region": "r", "shared_memory_offset": 8, "shared_memory_byte_size": 16}


def declared() -> Interface:
    x, y = (TensorSpec(name, DTYPES["FP32"], (-1,)) for name in "xy")
    return Interface("run", Convention.ELEMENTWISE, (x,), (y,))


@pytest.fixture
def interface() -> Interface:
    return declared()


def body(**changes: Any) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [4], "parameters": PLACE}
    return json.dumps(
        {"id": "7", "inputs": [tensor], "outputs": [{"name": "y", "parameters": PLACE}]} | changes
    ).encode()


def message(**changes: Any) -> Any:
    found = pb.ModelInferRequest(model_name="m", id="7", **changes)
    for tensor in (found.inputs.add(name="x", datatype="FP32", shape=[4]), found.outputs.add(name="y")):
        tensor.parameters["shared_memory_region"].string_param = "r"
        tensor.parameters["shared_memory_offset"].int64_param = 8
        tensor.parameters["shared_memory_byte_size"].int64_param = 16
    return found


def check(request: ParsedRequest) -> None:
    assert request.id == "7" and request.inputs == {}
    assert request.region_inputs["x"].place == request.outputs[0].place == RegionSlice("r", 8, 16)


def test_requests_without_data_are_decoded_once(interface: Interface) -> None:
    requests = RepeatedRequests()
    over_http = requests.parse_http(interface, body(), None)
    assert over_http == parse_request(interface, body(), None, v2=True)
    check(over_http)
    assert requests.parse_http(interface, bytearray(body()), None) is over_http
    over_grpc = requests.parse_grpc(interface, message(), None)
    assert over_grpc == parse_infer_request(interface, message(), None)
    check(over_grpc)
    assert requests.parse_grpc(interface, message(), None) is over_grpc


def test_each_detail_of_a_request_counts(interface: Interface) -> None:
    requests = RepeatedRequests()
    known = requests.parse_http(interface, body(), None)
    assert requests.parse_http(interface, body(id="8"), None).id == "8"
    assert requests.parse_http(interface, body(), str(len(body()))) is not known
    with pytest.raises(RequestError):
        requests.parse_http(interface, body(), str(len(body()) + 1))
    assert requests.parse_http(declared(), body(), None) is not known
    other = message()
    other.inputs[0].shape[0] = 5
    assert requests.parse_grpc(interface, other, None).region_inputs["x"].shape == (5,)
    assert requests.parse_grpc(interface, message(), None).region_inputs["x"].shape == (4,)


def test_requests_with_data_are_decoded_each_time(interface: Interface) -> None:
    requests = RepeatedRequests()
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
    first, second = (requests.parse_http(interface, body(inputs=[tensor]), None) for _ in range(2))
    assert first is not second and first.inputs["x"] is not second.inputs["x"]
    for value in (1.5, 2.5):
        contents = pb.ModelInferRequest(raw_input_contents=[np.float32(value).tobytes()])
        contents.inputs.add(name="x", datatype="FP32", shape=[1])
        assert requests.parse_grpc(interface, contents, None).inputs["x"].tolist() == [value]
        typed = pb.ModelInferRequest()
        typed.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(value)
        assert requests.parse_grpc(interface, typed, None).inputs["x"].tolist() == [value]


def test_the_time_left_for_a_call_is_that_of_each_call(interface: Interface) -> None:
    requests, limited = RepeatedRequests(), message()
    limited.parameters["timeout"].int64_param = 2_000_000
    for left_s in (None, 5.0, 1.0, float("inf"), -1.0):
        for each in (message(), limited):
            assert requests.parse_grpc(interface, each, left_s) == parse_infer_request(interface, each, left_s)


def test_errors_are_not_kept(interface: Interface) -> None:
    requests = RepeatedRequests()
    for _ in range(2):
        with pytest.raises(RequestError, match="unexpected inference output"):
            requests.parse_http(interface, body(outputs=[{"name": "z"}]), None)


def test_a_bounded_number_of_small_requests_is_kept(interface: Interface) -> None:
    requests = RepeatedRequests()
    for number in range(10 * MAX_REQUESTS):
        requests.parse_http(interface, body(id=str(number)), None)
        assert len(requests._known) <= MAX_REQUESTS
    large = body(id="x" * MAX_REQUEST_BYTES)
    assert requests.parse_http(interface, large, None) is not requests.parse_http(interface, large, None)
