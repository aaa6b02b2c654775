"""The outputs that a request lists."""

from __future__ import annotations

import pytest

from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.interface.interface import TensorSpec
from portalis.nim.service.codec.parsed_request import OutputRequest, RegionSlice
from portalis.nim.service.codec.requested_outputs import RequestedOutputs
from portalis.nim.service.request_errors import RequestError

A, C = (TensorSpec(name, DTYPES["FP32"], (-1,)) for name in "ac")


def test_outputs_appear_once_in_the_order_of_the_request() -> None:
    outputs = RequestedOutputs()
    assert outputs.to_list() == []
    for spec in (C, A, C):
        outputs.add(OutputRequest(spec, binary=True))
    assert outputs.to_list() == [OutputRequest(C, binary=True), OutputRequest(A, binary=True)]


@pytest.mark.parametrize(
    "other",
    [OutputRequest(A, binary=True), OutputRequest(A, classes=1), OutputRequest(A, place=RegionSlice("r", 0, 4))],
)
def test_one_output_in_two_forms_is_rejected(other: OutputRequest) -> None:
    outputs = RequestedOutputs()
    outputs.add(OutputRequest(A))
    with pytest.raises(RequestError, match="output 'a' is requested twice, in different forms") as raised:
        outputs.add(other)
    assert raised.value.status == 400
