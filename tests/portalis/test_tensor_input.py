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

from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.interface.interface import TensorSpec
from portalis.errors import UsageError
from portalis.tensor_input import read_tensor, split_assignment
from portalis.tensor_output import tensor_json

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


def test_a_missing_batch_dimension_is_added_and_one_that_is_there_is_kept() -> None:
    assert read("FP32", (3,), "[1, 2, 3]", batches=True).shape == (1, 3)
    assert read("FP32", (3,), "[[1, 2, 3]]", batches=True).shape == (1, 3)
    assert read("FP32", (3,), "[1, 2, 3]").shape == (3,)


def test_one_number_fills_any_rank() -> None:
    assert read("FP32", (-1, -1), "7", batches=True).shape == (1, 1, 1)


def test_another_rank_is_refused_with_both_shapes() -> None:
    with pytest.raises(UsageError, match=r"input 'x': expected shape \[-1, 3\], got \[1, 1, 1\]"):
        read("FP32", (3,), "[[[1]]]", batches=True)


@pytest.mark.parametrize(
    ("dtype", "value", "text"),
    [
        ("UINT8", "[256]", "input 'x' (UINT8): 256 is outside 0 to 255"),
        ("UINT64", "[-1]", "-1 is outside 0 to 18446744073709551615"),
        ("INT32", "[1.5]", "element 0 is 1.5, not an integer"),
        ("FP32", '["a"]', "'a' is not a number"),
        ("FP32", "{}", "expected an object with datatype, shape and data"),
        ("BOOL", "[2]", "neither true, false, 0 nor 1"),
        ("FP32", "[1, [2]]", "ragged"),
        ("INT32", "[[1], [2, 3]]", "ragged"),
        ("BYTES", '[["a"], ["b", "c"]]', "ragged"),
        ("FP32", "[null]", "element 0 is null, not a number"),
        ("FP32", "[true]", "element 0 is true, not a number"),
        ("FP32", '[{"b64": "AA"}]', "element 0 is an object, not a number"),
        ("FP16", "[70000]", "70000 is too large"),
        ("BF16", "[3.38e38, 3.4e38]", "3.4e+38 is too large"),
        ("BYTES", '["a", 1]', "element 1 is 1, not text"),
        ("BYTES", "[null]", "element 0 is null, not text"),
        ("BYTES", '["\\ud800"]', "half of a surrogate pair"),
        ("FP32", "", "'' is not JSON"),
        ("FP32", "[" * 5000, "nested too deeply"),
        ("INT64", "[" + "9" * 5000 + "]", "is not JSON"),
        ("INT32", '{"datatype": "FP32", "shape": [1], "data": [1]}', "is INT32, and the tensor is 'FP32'"),
        ("FP32", '{"datatype": "FP32", "shape": [2], "data": [1]}', "shape [2] has 2 elements, data has 1"),
        ("FP32", '{"datatype": "FP32", "shape": [-1], "data": [1]}', "expected a list of sizes"),
        (
            "BYTES",
            '{"datatype": "BYTES", "shape": [1], "data": ["*"], "parameters": {"content_encoding": "base64"}}',
            "base64",
        ),
        (
            "BYTES",
            '{"datatype": "BYTES", "shape": [1], "data": ["a"], "parameters": {"content_encoding": "x"}}',
            "'x', not",
        ),
        ("FP32", "one", "is FP32, and 'one' is not JSON"),
        ("FP32", "@missing.npy", "the file missing.npy does not exist"),
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
    assert read("BYTES", (-1,), "").tolist() == read("BYTES", (-1,), '""').tolist() == [b""]
    for text in ('{"a": null}', "NaN", "true", "1.50", "[INST] é", '{"data": [1]}'):
        assert read("BYTES", (-1,), text).tolist() == [text.encode()], (
            "a value that is not a list of strings is one string"
        )


def test_bytes_of_the_command_line_that_are_no_text_stay_what_they_are() -> None:
    assert read("BYTES", (-1,), b"a\xff".decode("utf-8", "surrogateescape")).tolist() == [b"a\xff"]


@pytest.mark.parametrize(
    "text", ["[NaN, Infinity, -Infinity]", '["NaN", "Infinity", "-Infinity"]', '["nan", "inf", "-inf"]']
)
def test_what_is_not_finite_is_read_as_words_and_as_text(text: str) -> None:
    np.testing.assert_array_equal(read("FP32", (-1,), text), np.array([np.nan, np.inf, -np.inf], np.float32))
    assert np.isnan(read("FP64", (-1,), "NaN")).all()


@given(st.data(), st.sampled_from([name for name in DTYPES if name != "BF16"]), st.booleans())
def test_what_json_prints_is_read_back(data: st.DataObject, name: str, whole: bool) -> None:
    shape = data.draw(npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    if name == "BYTES":
        array = data.draw(npst.arrays(object, shape, elements=st.binary(max_size=6), fill=st.nothing()))
    else:
        array = data.draw(npst.arrays(DTYPES[name].numpy, shape))
    tensor: Any = tensor_json("x", name, array)
    if whole:
        tensor = {"model": "m", "seconds": 0.1, "outputs": [tensor]}
    got = read(name, (-1,) * array.ndim, json.dumps(tensor))
    assert got.dtype == array.dtype and got.shape == array.shape
    np.testing.assert_array_equal(got, array)
    if name != "BYTES" and array.ndim == 1:
        np.testing.assert_array_equal(read(name, (-1,), json.dumps(tensor_json("x", name, array)["data"])), array)


def test_of_an_answer_with_several_outputs_the_one_of_the_inputs_name_is_read() -> None:
    outputs = [tensor_json(name, "INT8", np.full(2, value, np.int8)) for name, value in (("y", 1), ("x", 2))]
    assert read("INT8", (2,), json.dumps({"model": "m", "outputs": outputs})).tolist() == [2, 2]


def test_a_text_file_is_one_element_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_bytes(b"two\nlines\n")
    assert read("BYTES", (-1,), f"@{tmp_path}/letter.txt").tolist() == [b"two\nlines\n"]


def test_a_json_file_is_read_as_json(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[[1, 2]]")
    assert read("INT8", (-1, 2), f"@{tmp_path}/x.json").tolist() == [[1, 2]]
    (tmp_path / "x.json").write_text('["a"]')
    assert read("BYTES", (-1,), f"@{tmp_path}/x.json").tolist() == [b"a"]


@pytest.mark.parametrize("content", [b'{"a": "b"}\n', b"\xff\xfe\0", b"", b"17", b"{"])
def test_a_json_file_that_holds_no_tensor_is_one_element_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert read("BYTES", (-1,), f"@{tmp_path}/x.json").tolist() == [content]


def test_any_bytes_of_a_file_are_one_element(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(bytes(range(256)) + b"\0")
    assert read("BYTES", (-1,), f"@{tmp_path}/x.bin").tolist() == [bytes(range(256)) + b"\0"]


@pytest.mark.parametrize(
    ("dtype", "array", "text"),
    [
        ("FP32", np.array(["a"]), "is FP32, and {} has BYTES"),
        ("INT8", np.array([1.0]), "is INT8, and {} has FP64"),
        ("FP32", np.array([1j]), "is FP32, and {} has elements of NumPy's type complex128"),
        ("BYTES", np.array([1]), "is BYTES, and {} has INT64"),
        ("FP32", np.array([1e300]), "{} has values that exceed its range"),
        ("INT8", np.array([300]), "the values of {} range from 300 to 300"),
    ],
)
def test_files_of_another_type_are_refused_with_tritons_name_for_it(
    tmp_path: Path, dtype: str, array: Any, text: str
) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UsageError) as caught:
        read(dtype, (-1,), f"@{tmp_path}/x.npy")
    assert text.format(tmp_path / "x.npy") in str(caught.value)


def test_npy_files_keep_values_and_go_to_the_models_dtype(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    got = read("FP32", (3,), f"@{tmp_path}/x.npy")
    assert got.dtype == np.float32
    assert got.tolist() == [0, 1, 2]


def test_a_pickle_in_an_npy_file_is_not_run(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match=r"not a valid \.npy file"):
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
    with pytest.raises(UsageError, match=r"x\.png is not a readable image"):
        read("UINT8", (-1, -1, 3), f"@{tmp_path}/x.png")


def test_an_assignment_needs_a_name_and_a_value() -> None:
    assert split_assignment("a=b=c", option="--input") == ("a", "b=c")
    for text in ("a", "=b", "a="):
        with pytest.raises(UsageError, match="NAME=VALUE"):
            split_assignment(text, option="--output")
    assert split_assignment("a=", option="--input", may_be_empty=True) == ("a", "")
