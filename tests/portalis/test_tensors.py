"""Tensors as people write and read them on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from portalis.backend.dtypes import DTYPES
from portalis.backend.interface import TensorSpec
from portalis.errors import UsageError
from portalis.tensors import read_tensor, save, split_assignment, summary, to_json

NUMERIC = [name for name in DTYPES if name not in ("BYTES", "BF16", "BOOL")]


def spec(dtype: str, *dims: int) -> TensorSpec:
    return TensorSpec(name="x", dtype=DTYPES[dtype], dims=dims)


def read(dtype: str, dims: tuple[int, ...], value: str, *, batches: bool = False) -> Any:
    return read_tensor(spec(dtype, *dims), value, batches=batches)


@given(
    st.sampled_from(NUMERIC).flatmap(
        lambda name: st.tuples(
            st.just(name),
            npst.arrays(
                DTYPES[name].numpy,
                npst.array_shapes(max_dims=4),
                elements={"allow_nan": False, "allow_infinity": False} if name.startswith("FP") else None,
            ),
        )
    )
)
def test_what_json_says_comes_back_exactly(case: tuple[str, Any]) -> None:
    name, array = case
    got = read(name, (-1,) * array.ndim, json.dumps(array.tolist()))
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)


@given(npst.arrays(np.float32, npst.array_shapes(max_dims=3)))
def test_every_float_can_be_printed_as_strict_json(array: Any) -> None:
    flat = json.loads(json.dumps(to_json(array), allow_nan=False))
    np.testing.assert_array_equal(np.array(flat, dtype=np.float32), array.ravel())


def test_a_missing_batch_dimension_is_added_and_one_that_is_there_is_kept() -> None:
    assert read("FP32", (3,), "[1, 2, 3]", batches=True).shape == (1, 3)
    assert read("FP32", (3,), "[[1, 2, 3]]", batches=True).shape == (1, 3)
    assert read("FP32", (3,), "[1, 2, 3]").shape == (3,)


def test_one_number_fills_any_rank() -> None:
    assert read("FP32", (-1, -1), "7", batches=True).shape == (1, 1, 1)


def test_another_rank_is_refused_with_both_shapes() -> None:
    with pytest.raises(UsageError, match=r"input 'x' has shape \[1, 1, 1\], the model wants \[-1, 3\]"):
        read("FP32", (3,), "[[[1]]]", batches=True)


@pytest.mark.parametrize(
    ("dtype", "value", "text"),
    [
        ("UINT8", "[256]", "UINT8, but the values go from 256 to 256"),
        ("UINT64", "[-1]", "UINT64, but the values go from -1 to -1"),
        ("INT32", "[1.5]", "INT32, but the values are float64"),
        ("FP32", '["a"]', "FP32, but the values are <U1"),
        ("FP32", "{}", "FP32, but the values are object"),
        ("BOOL", "[2]", "use true, false, 0 or 1"),
        ("FP32", "[1, [2]]", "ragged"),
        ("INT32", "[[1], [2, 3]]", "ragged"),
        ("BYTES", '[["a"], ["b", "c"]]', "ragged"),
        ("FP32", "one", "'one' is not JSON"),
        ("FP32", "@missing.npy", "there is no file missing.npy"),
    ],
)
def test_values_that_do_not_fit_are_refused(dtype: str, value: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(dtype, (-1,), value)
    assert text in str(caught.value)


def test_bool_takes_words_and_bits() -> None:
    assert read("BOOL", (2,), "[true, false]").tolist() == read("BOOL", (2,), "[1, 0]").tolist() == [True, False]


def test_bytes_take_json_strings_and_plain_text() -> None:
    assert read("BYTES", (-1,), '["a", "ü"]').tolist() == [b"a", "ü".encode()]
    assert read("BYTES", (-1,), "it's plain").tolist() == [b"it's plain"]
    assert read("BYTES", (1,), "42", batches=True).tolist() == [[b"42"]]


def test_a_text_file_is_one_element_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_bytes(b"two\nlines\n")
    assert read("BYTES", (-1,), f"@{tmp_path}/letter.txt").tolist() == [b"two\nlines\n"]


def test_a_json_file_is_read_as_json(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[[1, 2]]")
    assert read("INT8", (-1, 2), f"@{tmp_path}/x.json").tolist() == [[1, 2]]


def test_npy_files_keep_values_and_go_to_the_models_dtype(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    got = read("FP32", (3,), f"@{tmp_path}/x.npy")
    assert got.dtype == np.float32
    assert got.tolist() == [0, 1, 2]


def test_a_pickle_in_an_npy_file_is_not_run(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match=r"no \.npy file that can be read"):
        read("BYTES", (-1,), f"@{tmp_path}/x.npy")


def test_an_image_comes_as_rgb_rows_unless_the_model_wants_channels_first(tmp_path: Path) -> None:
    pixels = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    value = f"@{tmp_path}/x.png"
    np.testing.assert_array_equal(read("UINT8", (-1, -1, 3), value), pixels)
    np.testing.assert_array_equal(read("FP32", (3, -1, -1), value), pixels.transpose(2, 0, 1))
    assert read("UINT8", (-1, -1, 1), value).shape == (5, 4, 1)
    assert read("UINT8", (-1, -1, 3), value, batches=True).shape == (1, 5, 4, 3)
    assert read("BYTES", (1,), value).tolist() == [(tmp_path / "x.png").read_bytes()]


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(UsageError, match=r"x\.png is no image that can be read"):
        read("UINT8", (-1, -1, 3), f"@{tmp_path}/x.png")


@given(st.lists(st.binary(max_size=8).filter(lambda each: not each.endswith(b"\0")), min_size=1, max_size=5))
def test_saved_bytes_come_back(elements: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        array = np.empty(len(elements), dtype=object)
        array[:] = elements
        save(array, Path(folder) / "x.npy")
        assert read("BYTES", (-1,), f"@{folder}/x.npy").tolist() == elements


def test_bytes_that_a_file_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="NUL"):
        save(np.array([b"a\0"], dtype=object), tmp_path / "x.npy")


def test_a_long_tensor_is_shortened() -> None:
    assert len(summary(np.arange(100_000))) < 100
    assert summary(np.array([b"x"] * 30, dtype=object)).endswith(", … 6 more]")


def test_an_assignment_needs_a_name_and_a_value() -> None:
    assert split_assignment("a=b=c", option="--input") == ("a", "b=c")
    for text in ("a", "=b", "a="):
        with pytest.raises(UsageError, match="NAME=VALUE"):
            split_assignment(text, option="--input")
