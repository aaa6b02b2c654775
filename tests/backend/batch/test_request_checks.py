"""Checks of a request before a guest receives it: names, data types, and the rows of a command."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from portalis.backend import InputError, Interface
from portalis.backend.batch.request_checks import RequestChecker, check_rows
from tests.backend.guests import tensor

F32 = np.float32


def checker(convention: str, *inputs: dict[str, object], batch: int = 0) -> RequestChecker:
    declared = {"entry": "f", "convention": convention, "signature": "(n)->(n)", "max_batch_size": batch}
    return RequestChecker(
        Interface.from_json({**declared, "inputs": list(inputs), "outputs": [tensor("y")]}, where="the test")
    )


def refused(rules: RequestChecker, inputs: dict[str, object]) -> str:
    with pytest.raises(InputError) as caught:
        rules.check(inputs)
    return str(caught.value)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, F32)


def test_numbers_and_lists_become_arrays_of_the_declared_dtype() -> None:
    arrays = checker("elementwise", tensor("a", "INT8"), tensor("b", "FP16")).check({"a": [1, 2], "b": 0.5})
    assert [(a.dtype, a.tolist()) for a in arrays if a is not None] == [(np.int8, [1, 2]), (np.float16, 0.5)]


def test_bytes_may_come_as_objects_or_as_text_of_fixed_width() -> None:
    rules = checker("dlpack", tensor("x", "BYTES"))
    for x in (np.array([b"a", b"bc"]), np.array(["a", "ü"]), np.array([b"a", "b"], dtype=object)):
        assert rules.check({"x": x})[0] is x
    assert refused(rules, {"x": np.zeros(2, np.int64)}) == "input 'x' has dtype int64, not object (BYTES)"


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("FP32", np.zeros(2), "has dtype float64, not float32 (FP32)"),
        ("BF16", zeros(2), "has dtype float32, not uint16 (BF16) (BF16 tensors are raw bits in a uint16 array)"),
        ("BOOL", np.zeros(2, np.uint8), "has dtype uint8, not bool (BOOL)"),
        ("FP32", "1,5", "cannot be read as FP32: could not convert string to float: '1,5'"),
        ("FP64", [None, {}], "cannot be read as FP64: float() argument must be a string or a real number, not 'dict'"),
        ("INT64", 1 << 64, "cannot be read as INT64: Python int too large to convert to C long"),
    ],
)
def test_a_value_of_a_different_type_is_reported_with_the_expected_type(kind: str, value: object, message: str) -> None:
    assert refused(checker("dlpack", tensor("x", kind)), {"x": value}) == f"input 'x' {message}"


def test_missing_and_unknown_inputs_are_reported_with_the_known_ones() -> None:
    rules = checker("dlpack", tensor("b"), tensor("a"), tensor("o", optional=True))
    assert refused(rules, {"z": 1.0, "a": None, "c": None}) == (
        "input 'b' is missing; input 'a' is missing; unknown input 'c' (the inputs are 'a', 'b', 'o');"
        " unknown input 'z' (the inputs are 'a', 'b', 'o')"
    )


def test_one_input_too_many_is_reported() -> None:
    assert refused(checker("dlpack", tensor("x")), {"x": zeros(1), "z": 1.0}) == (
        "unknown input 'z' (the inputs are 'x')"
    )


def test_an_absent_optional_input_is_none_in_its_place() -> None:
    rules = checker("dlpack", tensor("o", optional=True), tensor("x"), batch=4)
    x = zeros(2, 1)
    for inputs in ({"x": x}, {"x": x, "o": None}):
        assert rules.check(inputs) == [None, x]
    assert checker("dlpack", tensor("o", optional=True), batch=4).check({}) == [None]


@given(shape=hnp.array_shapes(min_dims=0, max_dims=9, min_side=0, max_side=3))
def test_an_array_of_the_declared_type_and_any_shape_is_not_copied(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, F32)
    assert checker("dlpack", tensor("x", dims=(3,)), batch=2).check({"x": x})[0] is x


def test_an_array_in_the_other_byte_order_is_converted() -> None:
    (x,) = checker("dlpack", tensor("x", "INT32")).check({"x": np.array([1, 2], ">i4")})
    assert x is not None and x.dtype == np.int32 and x.dtype.isnative and x.tolist() == [1, 2]


# -- the rows of a command, which no adapter checks --------------------------------------------------------------------


def rows_of(batch: int, **dims: tuple[int, ...]) -> Interface:
    inputs = [tensor(name, dims=each, optional=name == "o") for name, each in dims.items()]
    declared = {"entry": "f", "convention": "command", "max_batch_size": batch}
    return Interface.from_json({**declared, "inputs": inputs, "outputs": [tensor("y")]}, where="the test")


@pytest.mark.parametrize(
    ("batch", "dims", "shapes"),
    [
        (8, {"a": (1,)}, [(3, 1)]),
        (8, {"a": (1,)}, [(0, 1)]),
        (8, {"a": (1,)}, [(8, 1)]),
        (0, {"a": (1,)}, [(1,)]),
        (8, {"a": (), "o": (-1,)}, [(2,), (2, 5)]),
        (8, {"a": (1,), "o": (-1,)}, [(3, 1), None]),
        (8, {"o": (-1,)}, [None]),
    ],
)
def test_valid_rows_are_accepted(
    batch: int, dims: dict[str, tuple[int, ...]], shapes: list[tuple[int, ...] | None]
) -> None:
    check_rows(rows_of(batch, **dims), [None if shape is None else np.zeros(shape, F32) for shape in shapes])


@pytest.mark.parametrize(
    ("batch", "shapes", "message"),
    [
        (8, [(3, 2), (3, 4)], "input 'a' has shape [3, 2]; it must be [1] after the batch dimension"),
        (0, [(2,), (4,)], "input 'a' has shape [2]; it must be [1]"),
        (8, [(1,), (1, 4)], "input 'a' has shape [1]; it must be [1] after the batch dimension"),
        (8, [(), (1, 4)], "input 'a' has shape []; it must be [1] after the batch dimension"),
        (8, [(1,) * 9, (1, 4)], "input 'a' has rank 9; at most 8 is allowed"),
        (
            8,
            [(3, 2), (1,) * 9],
            "input 'a' has shape [3, 2]; it must be [1] after the batch dimension; input 'o' has rank 9; at most 8 is allowed",
        ),
        (8, [(3, 1), (2, 4)], "the inputs have different batch sizes: 'a' 3, 'o' 2"),
        (8, [(9, 1), (9, 4)], "the batch of 9 is larger than the maximum of 8"),
        (
            8,
            [(9, 1), (2, 4)],
            "the inputs have different batch sizes: 'a' 9, 'o' 2; the batch of 9 is larger than the maximum of 8",
        ),
    ],
)
def test_all_problems_of_invalid_rows_are_reported(batch: int, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_rows(rows_of(batch, a=(1,), o=(-1,)), [np.zeros(shape, F32) for shape in shapes])
    assert str(caught.value) == message
