"""What JSON says is what the module gets, and what it gives is what JSON says."""

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


def travel(datatype: str, array: np.ndarray) -> np.ndarray:
    """Encode, through real JSON, decode."""
    told = json.loads(write_json(encode_tensor(spec(datatype), array)))
    return decode_tensor(Tensor.model_validate(told), spec(datatype))


def refused(datatype: str, data: list[Any], **more: Any) -> str:
    tensor = Tensor(name="x", datatype=datatype, shape=[len(data)], data=data, **more)
    with pytest.raises(RequestError) as caught:
        decode_tensor(tensor, spec(datatype))
    assert caught.value.status == 400
    return caught.value.message


@settings(deadline=None)
@given(data=st.data(), datatype=st.sampled_from(NUMBERS))
def test_every_array_of_numbers_comes_back_bit_for_bit(data: st.DataObject, datatype: str) -> None:
    shape = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    array = data.draw(npst.arrays(DTYPES[datatype].numpy, shape))
    back = travel(datatype, array)
    assert back.dtype == array.dtype and back.shape == array.shape
    if datatype == "BF16":  # a NaN's payload is not kept
        bits, found = array.astype(np.uint16), back.astype(np.uint16)
        nan = (bits & 0x7FFF) > 0x7F80
        assert np.array_equal(found[~nan], bits[~nan]) and ((found[nan] & 0x7FFF) > 0x7F80).all()
    else:
        np.testing.assert_array_equal(back, array)
        if array.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(back[~np.isnan(array)]), np.signbit(array[~np.isnan(array)]))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=8), max_size=6))
def test_every_array_of_bytes_comes_back_text_or_not(elements: list[bytes]) -> None:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    assert travel("BYTES", array).tolist() == elements


def test_text_is_sent_as_text_and_what_is_none_as_base64() -> None:
    told = encode_tensor(spec("BYTES"), np.array(["é".encode()], dtype=object))
    assert told["data"] == ["é"] and "parameters" not in told
    told = encode_tensor(spec("BYTES"), np.array([b"\xff"], dtype=object))
    assert (told["data"], told["parameters"]) == (["/w=="], {"content_encoding": "base64"})


@pytest.mark.parametrize("datatype", [name for name in NUMBERS if DTYPES[name].numpy.kind in "iu" and name != "BF16"])
def test_integers_outside_the_type_are_refused_and_not_wrapped(datatype: str) -> None:
    bounds = np.iinfo(DTYPES[datatype].numpy.name)
    assert f"{bounds.max + 1} is outside" in refused(datatype, [0, int(bounds.max) + 1])
    assert f"{bounds.min - 1} is outside" in refused(datatype, [int(bounds.min) - 1])
    assert "element 1 is 1.5, not an integer" in refused(datatype, [1, 1.5])
    assert "element 0 is true, not an integer" in refused(datatype, [True])


def test_what_a_type_cannot_hold_is_refused() -> None:
    assert "70000 is too large" in refused("FP16", [70000])
    assert "too large" in refused("FP64", [10**400])
    assert "neither true, false, 0 nor 1" in refused("BOOL", [2])
    assert "element 0 is 'true', not true or false" in refused("BOOL", ["true"])
    assert "element 0 is null, not text" in refused("BYTES", [None])
    assert "surrogate" in refused("BYTES", ["\ud800"])
    assert "no base64" in refused("BYTES", ["*"], parameters={"content_encoding": "base64"})


def test_a_shape_that_no_array_can_have_is_refused() -> None:
    tensor = Tensor(name="x", datatype="FP32", shape=[0, 2**62, 2**62], data=[])
    with pytest.raises(RequestError, match="input 'x'"):
        decode_tensor(tensor, spec("FP32"))
