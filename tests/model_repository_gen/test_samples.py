"""The sample request of live validation."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from portalis.backend import TensorSpec
from portalis.backend.interface.dtypes import parse_dtype
from portalis.model_repository_gen.pbtxt import from_text
from portalis.model_repository_gen.samples import describe_sample, sample_request, sequence_id

BATCHED = "max_batch_size: 4"


def spec(name: str, dtype: str = "FP32", dims: tuple[int, ...] = (2,), *, optional: bool = False) -> TensorSpec:
    return TensorSpec(name=name, dtype=parse_dtype(dtype), dims=dims, optional=optional)


def warmed(dtype: str, dims: str, source: str, batch: str = "") -> str:
    value = f"data_type: TYPE_{dtype} dims: {dims} {source}"
    other = f"data_type: TYPE_{dtype} dims: [9] zero_data: true"
    return (
        f'{batch} model_warmup {{ name: "a" batch_size: 1 inputs {{ key: "x" value {{ {value} }} }} }}'
        f' model_warmup {{ name: "b" batch_size: 1 inputs {{ key: "x" value {{ {other} }} }} }}'
    )


def one(text: str, wanted: TensorSpec, folder: Path = Path()) -> np.ndarray:
    (array,) = sample_request(from_text(text), [wanted], folder).values()
    return array


def test_a_variable_dim_is_one(tmp_path: Path) -> None:
    array = one("", spec("x", "INT16", (-1, 3, -1)))
    assert (array.shape, array.dtype) == ((1, 3, 1), np.int16)
    assert not array.any()


def test_a_model_that_batches_gets_a_batch_of_one() -> None:
    assert one(BATCHED, spec("x", dims=(3,))).shape == (1, 3)


def test_strings_are_empty() -> None:
    array = one(BATCHED, spec("x", "BYTES", (2,)))
    assert array.tolist() == [[b"", b""]]


def test_bfloat16_is_float32_for_the_client() -> None:
    assert one("", spec("x", "BF16")).dtype == np.float32


def test_optional_inputs_are_omitted_unless_all_are_optional() -> None:
    x, o = spec("x"), spec("o", optional=True)
    assert list(sample_request(from_text(""), [o, x], Path())) == ["x"]
    assert list(sample_request(from_text(""), [o], Path())) == ["o"]


def test_the_first_warm_up_sample_sets_the_shape() -> None:
    assert one(warmed("FP32", "[3, 2]", "random_data: true", BATCHED), spec("x", dims=(-1, -1))).shape == (1, 3, 2)
    assert one(warmed("FP32", "[]", "zero_data: true"), spec("x", dims=(1,))).shape == ()
    assert one(warmed("FP32", "[7]", "zero_data: true"), spec("other", dims=(-1,))).shape == (1,)


@pytest.mark.parametrize("dtype", ["FP32", "FP16", "INT8", "UINT64", "BOOL"])
def test_random_data_is_random_and_the_same_each_time(dtype: str) -> None:
    first, second = (one(warmed(dtype, "[64]", "random_data: true"), spec("x", dtype, (-1,))) for _ in range(2))
    assert first.dtype == parse_dtype(dtype).numpy
    assert len(np.unique(first)) > 1
    np.testing.assert_array_equal(first, second)


def test_random_data_is_random_for_strings_and_bfloat16() -> None:
    texts = one(warmed("STRING", "[2, 3]", "random_data: true"), spec("x", "BYTES", (2, 3)))
    assert texts.shape == (2, 3)
    assert len(set(texts.ravel().tolist())) == 6
    halves = one(warmed("BF16", "[8]", "random_data: true"), spec("x", "BF16", (8,)))
    assert halves.dtype == np.float32
    assert len(np.unique(halves)) > 1


@pytest.mark.parametrize(
    ("text", "dtype", "reported"),
    [
        (BATCHED, "FP32", "x FP32 [1, 1] of zeros"),
        ("", "BYTES", "x BYTES [1] of empty strings"),
        (warmed("FP32", "[3]", "random_data: true"), "FP32", "x FP32 [3] of random values"),
        (warmed("FP32", "[3]", "zero_data: true", BATCHED), "FP32", "x FP32 [1, 3] of zeros"),
    ],
)
def test_a_sample_is_described(text: str, dtype: str, reported: str) -> None:
    config, inputs = from_text(text), [spec("x", dtype, (-1,)), spec("o", optional=True)]
    assert describe_sample(config, inputs, sample_request(config, inputs, Path())) == reported


@pytest.mark.parametrize("batch", ["", BATCHED])
def test_the_data_of_a_warm_up_file_is_sent(tmp_path: Path, batch: str) -> None:
    (tmp_path / "warmup").mkdir()
    file = tmp_path / "warmup" / "x.raw"
    more = (1,) if batch else ()
    source = 'input_data_file: "x.raw"'
    file.write_bytes(struct.pack("<6h", *range(6)))
    numbers = one(warmed("INT16", "[2, 2]", source, batch), spec("x", "INT16", (2, 2)), tmp_path)
    assert (numbers.shape, numbers.ravel().tolist()) == ((*more, 2, 2), [0, 1, 2, 3])
    file.write_bytes(struct.pack("<3f", 1.5, -2, 0)[2:4] + struct.pack("<f", -2)[2:4])
    halves = one(warmed("BF16", "[2]", source, batch), spec("x", "BF16", (2,)), tmp_path)
    assert (halves.shape, halves.dtype, halves.ravel().tolist()) == ((*more, 2), np.float32, [1.5, -2])
    file.write_bytes(b"\2\0\0\0ab" + b"\0\0\0\0" + b"\1\0\0\0c")
    texts = one(warmed("STRING", "[2]", source, batch), spec("x", "BYTES", (2,)), tmp_path)
    assert (texts.shape, texts.ravel().tolist()) == ((*more, 2), [b"ab", b""])


def test_a_sequence_has_an_id_of_the_models_type() -> None:
    assert sequence_id(from_text("")) == 0
    assert sequence_id(from_text("sequence_batching { }")) == 1
    start = 'control_input { name: "S" control { kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] } }'
    number = 'control_input { name: "C" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }'
    text = 'control_input { name: "C" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } }'
    assert sequence_id(from_text(f"sequence_batching {{ {start} {number} }}")) == 1
    assert sequence_id(from_text(f"sequence_batching {{ {start} {text} }}")) == "1"
