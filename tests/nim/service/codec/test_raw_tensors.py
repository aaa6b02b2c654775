"""Raw tensors: every data type survives, without unnecessary copies, and wrong lengths are errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from portalis.backend import TensorSpec
from portalis.backend.interface.dtypes import DTYPES
from portalis.nim.service.codec.raw_tensors import from_raw, to_raw
from portalis.nim.service.request_errors import RequestError

shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines can be busy
numbers = st.sampled_from([name for name in DTYPES if name != "BYTES"])


def spec(kind: str) -> TensorSpec:
    return TensorSpec("x", DTYPES[kind], (-1,))


@relaxed
@given(kind=numbers, shape=shapes, data=st.data())
def test_numbers_survive_bit_by_bit(kind: str, shape: tuple[int, ...], data: st.DataObject) -> None:
    array = data.draw(npst.arrays(DTYPES[kind].numpy, shape))
    back = from_raw(spec(kind), shape, to_raw(spec(kind), array))
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


@relaxed
@given(shape=shapes, data=st.data())
def test_bytes_survive(shape: tuple[int, ...], data: st.DataObject) -> None:
    array = np.empty(shape, dtype=object)
    array.ravel()[:] = data.draw(st.lists(st.binary(max_size=20), min_size=array.size, max_size=array.size))
    back = from_raw(spec("BYTES"), shape, to_raw(spec("BYTES"), array))
    assert (back.dtype, back.tolist()) == (array.dtype, array.tolist())


def test_numbers_are_a_view_of_the_data_even_if_it_is_not_aligned() -> None:
    data = b"\0" + np.arange(4, dtype=np.float64).tobytes()
    array = from_raw(spec("FP64"), [4], memoryview(data)[1:])
    assert np.shares_memory(array, np.frombuffer(data, np.uint8)) and array.tolist() == [0, 1, 2, 3]


def test_slices_and_strings_are_written_like_arrays_and_bytes() -> None:
    array = np.arange(12, dtype=np.int32).reshape(3, 4)[:, ::2]
    assert to_raw(spec("INT32"), array) == np.array([0, 2, 4, 6, 8, 10], np.int32).tobytes()
    assert to_raw(spec("BYTES"), np.array(["ü"], dtype=object)) == b"\x02\0\0\0\xc3\xbc"


@relaxed
@given(kind=st.sampled_from(sorted(DTYPES)), shape=st.lists(st.integers(-3, 2**63 - 1), max_size=40), data=st.binary())
def test_a_wrong_shape_or_wrong_data_is_an_error_that_names_the_input(kind: str, shape: list[int], data: bytes) -> None:
    error = None
    try:
        assert list(from_raw(spec(kind), shape, data).shape) == shape
    except RequestError as raised:
        error = raised
    assert error is None or (error.status == 400 and "input 'x'" in error.message)


@pytest.mark.parametrize("value", [2, 255])
def test_a_boolean_is_0_or_1(value: int) -> None:
    with pytest.raises(RequestError, match="a byte is neither 0 nor 1"):
        from_raw(spec("BOOL"), [2], bytes([1, value]))
