"""Output tensors as printed and as saved: no byte is changed."""

from __future__ import annotations

import ast
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.interface.interface import TensorSpec
from portalis.errors import UsageError
from portalis.nim.service.codec import encode_tensor, write_json
from portalis.tensor_input import read_tensor
from portalis.tensor_output import (
    check_output_path,
    check_savable,
    format_element,
    format_tensor,
    save_tensor,
    tensor_json,
)


def texts(*elements: bytes) -> Any:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


@pytest.mark.parametrize("name", [name for name in DTYPES if name not in ("BYTES", "BF16")])
@given(st.data())
def test_json_is_what_the_service_sends(name: str, data: st.DataObject) -> None:
    array = data.draw(npst.arrays(DTYPES[name].numpy, npst.array_shapes(max_dims=2, max_side=4)))
    sent = write_json(encode_tensor(TensorSpec("y", DTYPES[name], (-1,) * array.ndim), array))
    printed = json.loads(json.dumps(tensor_json("y", name, array)))
    assert repr(printed) == repr(json.loads(sent))


@given(st.lists(st.binary(max_size=8), max_size=5))
@example([b"\xff\xfe\0"])
def test_json_of_bytes_is_what_the_service_sends(elements: list[bytes]) -> None:
    sent = write_json(encode_tensor(TensorSpec("y", DTYPES["BYTES"], (-1,)), texts(*elements)))
    assert tensor_json("y", "BYTES", texts(*elements)) == json.loads(sent)


def test_bytes_that_are_no_text_are_base64_and_say_so() -> None:
    tensor = tensor_json("y", "BYTES", texts(b"\xff\xfe\0", b"a"))
    assert tensor["parameters"] == {"content_encoding": "base64"} and tensor["data"] == ["//4A", "YQ=="]
    assert tensor_json("y", "BYTES", texts(b"a\0"))["data"] == ["a\0"]


@given(st.binary(max_size=12))
@example(b'\\xff"')
@example(b'\xff"\\')
def test_a_printed_element_is_a_literal_of_its_bytes(element: bytes) -> None:
    literal = format_element(element)
    assert literal.isprintable()
    found = ast.literal_eval(literal) if literal.startswith("b") else json.loads(literal).encode()
    assert found == element


@pytest.mark.parametrize("letter", ["\x1b[31m", "\x9b", "\u202e", "\u2028", "\x00"])
def test_what_a_terminal_would_act_on_is_escaped(letter: str) -> None:
    literal = format_element(f"a{letter}é".encode())
    assert literal.isprintable() and "é" in literal and json.loads(literal) == f"a{letter}é"


def test_long_elements_and_tensors_are_shortened() -> None:
    assert len(format_tensor(np.arange(100_000))) < 100
    assert format_tensor(texts(*[b"x"] * 30)).endswith(", … 6 more]")
    assert (
        format_tensor(texts(b"\x89PNG" * 1_000_000)).endswith(" … 4000000 bytes]")
        and len(format_tensor(texts(b"\x89" * 9999))) < 2000
    )
    assert format_element("é".encode() * 1000).count("é") == 200, "a character that is cut does not make it binary"
    assert format_element(b"x" + "é".encode() * 1000).count("é") == 199


@given(st.lists(st.binary(max_size=8).filter(lambda each: not each.endswith(b"\0")), min_size=1, max_size=5))
def test_saved_bytes_come_back(elements: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        check_savable("x", texts(*elements), path)
        save_tensor(texts(*elements), path)
        spec = TensorSpec("x", DTYPES["BYTES"], (-1,))
        assert read_tensor(spec, f"@{path}", batches=False).tolist() == elements


@given(st.binary(max_size=20))
@example(b"\xff\xfe\0")
@example(b"")
def test_one_element_is_saved_as_its_bytes_and_read_back(element: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new" / "x.png"
        check_output_path("x", "BYTES", path)
        check_savable("x", texts(element), path)
        save_tensor(texts(element).reshape(1, 1), path)
        assert path.read_bytes() == element
        spec = TensorSpec("x", DTYPES["BYTES"], (-1,))
        assert read_tensor(spec, f"@{path}", batches=False).tolist() == [element]


@pytest.mark.parametrize(
    ("array", "file", "message", "remedy"),
    [
        (texts(b"a\0"), "x.npy", "element 0 of output 'x' ends in a NUL byte", "--output x=@x.bin saves the bytes"),
        (texts(b"a", b"b\0"), "x.npy", "element 1 of output 'x' ends in a NUL byte", "--json prints every byte"),
        (texts(b"a", b"b"), "x.bin", "has 2 elements, and x.bin can hold the bytes of only one", "--output x=@x.npy"),
        (texts(), "x.bin", "has 0 elements", "--json"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_with_one_that_can(array: Any, file: str, message: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_savable("x", array, Path(file))
    assert message in caught.value.message and remedy in caught.value.remediation


@pytest.mark.parametrize("file", ["y.bin", "y.png", "y.json", "y"])
def test_numbers_are_saved_as_npy_only(file: str) -> None:
    with pytest.raises(UsageError, match=r"'y' is FP32: numbers are saved as \.npy files"):
        check_output_path("y", "FP32", Path(file))
