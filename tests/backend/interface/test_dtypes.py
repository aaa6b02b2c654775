"""The data types of tensors: one table that agrees with NumPy and DLPack, and BF16's conversions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from portalis.backend import InterfaceError
from portalis.backend.interface.dtypes import BF16, BYTES, DTYPES, bf16_to_f32, f32_to_bf16, parse_dtype

F32 = np.float32


def test_the_table_agrees_with_numpy_and_dlpack() -> None:
    codes = {"b": 6, "u": 1, "i": 0, "f": 2}
    carriers = {("f", 8): "f64", ("i", 8): "i64", ("u", 8): "i64"}
    for name, dtype in DTYPES.items():
        assert (dtype.name, str(dtype), dtype.bits) == (name, name, dtype.itemsize * 8)
        if dtype in (BF16, BYTES):
            continue
        kind = dtype.numpy.kind
        assert dtype.code == codes[kind] and dtype.itemsize == dtype.numpy.itemsize
        assert dtype.wasm == carriers.get((kind, dtype.itemsize), "f32" if kind == "f" else "i32")
        assert name.rstrip("0123456789") == {"b": "BOOL", "u": "UINT", "i": "INT", "f": "FP"}[kind]
        assert kind == "b" or name.endswith(str(dtype.bits))
    assert (BF16.numpy, BF16.code, BF16.bits, BF16.wasm) == (np.dtype("uint16"), 4, 16, "f32")
    assert (BYTES.numpy, BYTES.code, BYTES.itemsize, BYTES.wasm) == (np.dtype(object), 1, 1, "")


@pytest.mark.parametrize("name", list(DTYPES))
def test_a_dtype_can_be_looked_up_by_any_of_its_names(name: str) -> None:
    dtype = DTYPES[name]
    assert dtype.triton == ("TYPE_STRING" if name == "BYTES" else f"TYPE_{name}")
    for text in (name, name.lower(), dtype.triton, f"type_{name}"):
        assert parse_dtype(text) is dtype


@pytest.mark.parametrize("text", ["float32", "", "TYPE_", "TYPE_TYPE_FP32", "FP8"])
def test_an_unknown_dtype_is_reported_with_the_choices(text: str) -> None:
    with pytest.raises(InterfaceError) as caught:
        parse_dtype(text)
    assert str(caught.value) == f"unknown data type {text!r}: use one of {', '.join(DTYPES)}"


@settings(deadline=None)
@given(values=hnp.arrays(F32, hnp.array_shapes(max_dims=3, min_side=0), elements=st.floats(width=32)))
def test_bfloat16_agrees_with_the_reference_implementation(values: np.ndarray) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    bits = f32_to_bf16(values)
    assert bits.dtype == np.uint16 and bits.shape == values.shape
    known = ~np.isnan(values)
    np.testing.assert_array_equal(bits[known], values.astype(ml_dtypes.bfloat16).view(np.uint16)[known])
    widened = bf16_to_f32(bits)
    assert widened.dtype == F32 and widened.shape == values.shape
    np.testing.assert_array_equal(np.isnan(widened), np.isnan(values))


@given(bits=hnp.arrays(np.uint16, 8))
def test_every_bfloat16_number_round_trips_exactly(bits: np.ndarray) -> None:
    numbers = bits[~np.isnan(bf16_to_f32(bits))]
    np.testing.assert_array_equal(f32_to_bf16(bf16_to_f32(numbers)), numbers)


def test_a_scalar_float_becomes_a_scalar_bfloat16() -> None:
    bits = f32_to_bf16(np.array(1.0, F32))
    assert bits.shape == () and bits == 0x3F80


@pytest.mark.parametrize(
    ("bits", "rounded"),
    [
        (0x3F808000, 0x3F80),  # halfway: to even
        (0x3F818000, 0x3F82),
        (0x3F808001, 0x3F81),
        (0x7F7FFFFF, 0x7F80),  # the largest float becomes infinity
        (0x7F800001, 0x7FC0),  # a NaN whose bits lie in the lost half stays one
        (0xFFFFFFFF, 0xFFFF),
        (0x80000000, 0x8000),
    ],
)
def test_rounding_to_bfloat16_is_to_nearest_even(bits: int, rounded: int) -> None:
    array = np.array([bits], np.uint32).view(F32)
    assert f32_to_bf16(array)[0] == rounded
    assert f32_to_bf16(np.asfortranarray(np.stack([array] * 6).reshape(2, 3))).tolist() == [[rounded] * 3] * 2


def test_a_bfloat16_scalar_keeps_its_rank() -> None:
    from portalis.backend.interface.dtypes import bf16_to_f32, f32_to_bf16

    one = bf16_to_f32(np.array(0x3F80, np.uint16))
    assert (one.shape, one.dtype, float(one)) == ((), np.float32, 1.0)
    assert f32_to_bf16(one).tolist() == 0x3F80
