"""Tensors in JSON: arrays survive the way to JSON and back, and values that a data type cannot represent are errors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.interface.interface import TensorSpec
from portalis.nim.service.codec.inference_schema import Tensor
from portalis.nim.service.codec.json_codec import write_json
from portalis.nim.service.codec.json_tensors import decode_tensor, encode_tensor
from portalis.nim.service.request_errors import RequestError

NUMBERS = [name for name in DTYPES if name != "BYTES"]


def spec(datatype: str) -> TensorSpec:
    return TensorSpec("x", DTYPES[datatype], (-1,))


def round_trip(datatype: str, array: np.ndarray) -> np.ndarray:
    """Encode the array, write and read the JSON, and decode it."""
    document = json.loads(write_json(encode_tensor(spec(datatype), array)))
    return decode_tensor(Tensor.model_validate(document), spec(datatype))


def error_message(datatype: str, data: list[Any], **fields: Any) -> str:
    tensor = Tensor(name="x", datatype=datatype, shape=[len(data)], data=data, **fields)
    with pytest.raises(RequestError) as caught:
        decode_tensor(tensor, spec(datatype))
    assert caught.value.status == 400
    return caught.value.message


@settings(deadline=None)
@given(data=st.data(), datatype=st.sampled_from(NUMBERS))
def test_every_array_of_numbers_survives_bit_for_bit(data: st.DataObject, datatype: str) -> None:
    shape = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    array = data.draw(npst.arrays(DTYPES[datatype].numpy, shape))
    back = round_trip(datatype, array)
    assert back.dtype == array.dtype and back.shape == array.shape
    if datatype == "BF16":  # the payload of a NaN is lost
        bits, back_bits = array.astype(np.uint16), back.astype(np.uint16)
        nan = (bits & 0x7FFF) > 0x7F80
        assert np.array_equal(back_bits[~nan], bits[~nan]) and ((back_bits[nan] & 0x7FFF) > 0x7F80).all()
    else:
        np.testing.assert_array_equal(back, array)
        if array.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(back[~np.isnan(array)]), np.signbit(array[~np.isnan(array)]))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=8), max_size=6))
def test_every_array_of_bytes_survives_text_or_not(elements: list[bytes]) -> None:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    assert round_trip("BYTES", array).tolist() == elements


def test_text_is_sent_as_text_and_other_bytes_as_base64() -> None:
    document = encode_tensor(spec("BYTES"), np.array(["é".encode()], dtype=object))
    assert document["data"] == ["é"] and "parameters" not in document
    document = encode_tensor(spec("BYTES"), np.array([b"\xff"], dtype=object))
    assert (document["data"], document["parameters"]) == (["/w=="], {"content_encoding": "base64"})


@pytest.mark.parametrize("datatype", [name for name in NUMBERS if DTYPES[name].numpy.kind in "iu" and name != "BF16"])
def test_integers_outside_the_type_are_rejected_and_not_wrapped(datatype: str) -> None:
    bounds = np.iinfo(DTYPES[datatype].numpy.name)
    assert f"{bounds.max + 1} is outside" in error_message(datatype, [0, int(bounds.max) + 1])
    assert f"{bounds.min - 1} is outside" in error_message(datatype, [int(bounds.min) - 1])
    assert "element 1 is 1.5, not an integer" in error_message(datatype, [1, 1.5])
    assert "element 0 is true, not an integer" in error_message(datatype, [True])


def test_values_that_a_type_cannot_represent_are_rejected() -> None:
    assert "70000 is too large" in error_message("FP16", [70000])
    assert "too large" in error_message("FP64", [10**400])
    assert "neither true, false, 0 nor 1" in error_message("BOOL", [2])
    assert "element 0 is 'true', not true or false" in error_message("BOOL", ["true"])
    assert "element 0 is null, not text" in error_message("BYTES", [None])
    assert "surrogate" in error_message("BYTES", ["\ud800"])
    assert "not valid base64" in error_message("BYTES", ["*"], parameters={"content_encoding": "base64"})


def test_a_shape_that_no_array_can_have_is_rejected() -> None:
    tensor = Tensor(name="x", datatype="FP32", shape=[0, 2**62, 2**62], data=[])
    with pytest.raises(RequestError, match="input 'x'"):
        decode_tensor(tensor, spec("FP32"))
