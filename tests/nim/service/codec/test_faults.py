"""Rejected requests are described by the texts of Triton, at a cost that their size limits.

The comparison with a real Triton checks the texts themselves.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.interface.interface import Convention, Interface, TensorSpec
from portalis.nim.service.codec.core_faults import describe_rejected
from portalis.nim.service.codec.parsed_request import ParsedRequest, RegionInput, RegionSlice
from portalis.nim.service.codec.protobuf_messages import pb
from portalis.nim.service.codec.protobuf_tensors import parse_infer_request
from portalis.nim.service.codec.request import parse_request
from portalis.nim.service.request_errors import RequestError, input_error

X, NAMES = TensorSpec("x", DTYPES["FP32"], (-1,)), TensorSpec("names", DTYPES["BYTES"], (-1,), optional=True)
MODEL = Interface("f", Convention.DLPACK, (X, NAMES), (TensorSpec("y", DTYPES["FP32"], (-1,)),), max_batch_size=0)
GOOD: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}


def http_fault(document: Any, *, v2: bool = True) -> str:
    with pytest.raises(RequestError) as raised:
        parse_request(MODEL, json.dumps(document).encode(), v2=v2)
    assert raised.value.status == 400
    raised.value.insert_model_name("m")
    return raised.value.message


def grpc_fault(message: Any) -> str:
    with pytest.raises(RequestError) as raised:
        parse_infer_request(MODEL, message, None)
    assert raised.value.status == 400
    raised.value.insert_model_name("m")
    return raised.value.message


def test_the_text_of_triton_is_first_and_ours_follows() -> None:
    assert http_fault({"inputs": [{**GOOD, "data": [1]}]}) == (
        "Unable to parse 'data': Shape does not match true shape of 'data' field"
        " (input 'x': shape [2] has 2 elements, but data has 1)"
    )
    assert http_fault({"id": "7", "inputs": [{**GOOD, "name": "z"}]}) == (
        "unexpected inference input 'z' for model 'm' (unknown input 'z'; the inputs are x, names)"
    )


def test_version_1_has_our_text_only() -> None:
    text = http_fault({"inputs": [{**GOOD, "data": [1]}]}, v2=False)
    assert text == "input 'x': shape [2] has 2 elements, but data has 1"


def test_what_triton_rejects_but_the_service_accepts_is_not_blamed() -> None:
    # FP16 in JSON and non-finite numbers as text are extensions
    half = Interface("f", Convention.DLPACK, (TensorSpec("x", DTYPES["FP16"], (-1,)),), MODEL.outputs)
    body = json.dumps({"inputs": [{**GOOD, "datatype": "FP16", "data": ["NaN", "x"]}]}).encode()
    with pytest.raises(RequestError, match="^Unable to parse 'data': attempt to access JSON non-number as double"):
        parse_request(half, body, v2=True)


@pytest.mark.parametrize("key", ["triton_x", "mine"])
def test_parameters_that_triton_rejects_are_rejected(key: str) -> None:
    text = http_fault({"inputs": [GOOD], "parameters": {key: None}})
    assert text.startswith("parameter keys starting with" if key == "triton_x" else "parameter 'mine' has invalid type")


def test_lists_nested_as_deeply_as_json_may_be() -> None:
    body = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": ' + b"[" * 1000 + b"]" * 1000 + b"}]}"
    with pytest.raises(RequestError, match="^Unable to parse 'data': Shape does not match"):
        parse_request(MODEL, body, v2=True)


@pytest.mark.parametrize("names", [20_000, 1])
def test_the_cost_and_the_text_of_many_inputs_and_dimensions_are_bounded(names: int) -> None:
    shape = [2**62] * (20_000 // names)
    inputs = [{**GOOD, "name": f"n{number}", "shape": shape, "data": []} for number in range(names)]
    message = pb.ModelInferRequest(
        inputs=[{"name": each["name"], "datatype": "FP32", "shape": shape} for each in inputs]
    )
    message.raw_input_contents.extend([b""] * names)
    began = time.process_time()
    for text in (http_fault({"inputs": inputs}), grpc_fault(message)):
        assert len(text) < 5000
    assert time.process_time() - began < 5


def test_inputs_in_regions_leave_the_raw_contents_to_the_others() -> None:
    message = pb.ModelInferRequest()
    message.inputs.add(name="names", datatype="BYTES", shape=[1])
    for key, value in (("shared_memory_region", "r"), ("shared_memory_byte_size", 8)):
        kind = "string_param" if isinstance(value, str) else "int64_param"
        setattr(message.inputs[0].parameters[key], kind, value)
    message.inputs.add(name="x", datatype="FP32", shape=[2])
    message.raw_input_contents.append(bytes(4))
    assert grpc_fault(message).startswith(
        "[request id: <id_unknown>] input byte size mismatch for input 'x' for model 'm'. Expected 8, got 4 ("
    )


def test_an_input_that_the_model_rejects_is_described() -> None:
    place = RegionInput(TensorSpec("x", DTYPES["FP32"], (-1,)), (1, 2), RegionSlice("r", 0, 8))
    request = ParsedRequest("id", {}, [], region_inputs={"x": place})
    error = describe_rejected(input_error("input 'x' has rank 2"), MODEL, request)
    error.insert_model_name("m")
    text = "[request id: id] unexpected shape for input 'x' for model 'm'. Expected [-1], got [1,2].  (input 'x' has rank 2)"
    assert error.message == text
    other = RequestError(503, "HostBusy", "no further instance")
    assert describe_rejected(other, MODEL, request) is other


def test_the_cost_of_many_bytes_elements_is_bounded() -> None:
    message = pb.ModelInferRequest()
    message.inputs.add(name="x", datatype="FP32", shape=[1])
    message.inputs.add(name="names", datatype="BYTES", shape=[1 << 24])
    message.raw_input_contents.extend([bytes(4), bytes((1 << 25) - 1)])
    with pytest.raises(RequestError, match="^input 'names'"):
        parse_infer_request(MODEL, message, None, thorough=True)
    message.inputs[1].shape[:] = [1]
    assert "unexpected number of string elements 2 for inference input 'names'" in grpc_fault(message)
