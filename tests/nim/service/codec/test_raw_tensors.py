"""Raw tensors: every data type there and back, without a copy where one is not needed, and lengths that lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from portalis.backend import InputError, Program, TensorSpec
from portalis.backend.interface.dtypes import DTYPES
from portalis.nim.service.codec.raw_tensors import from_raw, to_raw
from portalis.nim.service.codec.tensor_checks import check_metadata, checked_shape
from portalis.nim.service.request_errors import RequestError
from tests.backend import guests

shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines have other work, too
numbers = st.sampled_from([name for name in DTYPES if name != "BYTES"])


def spec(kind: str) -> TensorSpec:
    return TensorSpec("x", DTYPES[kind], (-1,))


@relaxed
@given(kind=numbers, shape=shapes, data=st.data())
def test_numbers_come_back_bit_by_bit(kind: str, shape: tuple[int, ...], data: st.DataObject) -> None:
    array = data.draw(npst.arrays(DTYPES[kind].numpy, shape))
    found = from_raw(spec(kind), shape, to_raw(spec(kind), array))
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


@relaxed
@given(shape=shapes, data=st.data())
def test_bytes_come_back(shape: tuple[int, ...], data: st.DataObject) -> None:
    array = np.empty(shape, dtype=object)
    array.ravel()[:] = data.draw(st.lists(st.binary(max_size=20), min_size=array.size, max_size=array.size))
    found = from_raw(spec("BYTES"), shape, to_raw(spec("BYTES"), array))
    assert (found.dtype, found.tolist()) == (array.dtype, array.tolist())


def test_numbers_are_a_view_of_what_was_sent_even_where_it_is_not_aligned() -> None:
    sent = b"\0" + np.arange(4, dtype=np.float64).tobytes()
    found = from_raw(spec("FP64"), [4], memoryview(sent)[1:])
    assert np.shares_memory(found, np.frombuffer(sent, np.uint8)) and found.tolist() == [0, 1, 2, 3]


def test_a_part_of_an_array_and_text_are_written_like_a_whole_and_bytes() -> None:
    array = np.arange(12, dtype=np.int32).reshape(3, 4)[:, ::2]
    assert to_raw(spec("INT32"), array) == np.array([0, 2, 4, 6, 8, 10], np.int32).tobytes()
    assert to_raw(spec("BYTES"), np.array(["ü"], dtype=object)) == b"\x02\0\0\0\xc3\xbc"


@relaxed
@given(kind=st.sampled_from(sorted(DTYPES)), shape=st.lists(st.integers(-3, 2**63 - 1), max_size=40), data=st.binary())
def test_whatever_is_claimed_of_the_data_is_checked_first(kind: str, shape: list[int], data: bytes) -> None:
    refusal = None
    try:
        assert list(from_raw(spec(kind), shape, data).shape) == shape
    except RequestError as problem:
        refusal = problem
    assert refusal is None or (refusal.status == 400 and "input 'x'" in refusal.message)


@pytest.mark.parametrize("value", [2, 255])
def test_a_boolean_is_0_or_1(value: int) -> None:
    with pytest.raises(RequestError, match="a byte is neither 0 nor 1"):
        from_raw(spec("BOOL"), [2], bytes([1, value]))


ADD = """(module (func (export "f") (param f32) (result f32) (f32.add (local.get 0) (f32.const 1))))"""
SUM = """(module (memory (export "memory") 1) (func (export "f") (param i32 i32 i32 i32)))"""
MODULES = {
    "exact": guests.echo("FP32", (2, -1), batch=4),
    "no batch": guests.echo("FP32", (2,)),
    "elementwise": guests.wasm(
        ADD,
        {
            "entry": "f",
            "convention": "elementwise",
            "inputs": [guests.tensor("x", dims=(3,))],
            "outputs": [guests.tensor("y", dims=(3,))],
        },
    ),
    "gufunc": guests.wasm(
        SUM,
        {
            "entry": "f",
            "convention": "gufunc",
            "signature": "(n)->(n)",
            "args": ["x", "y", "n", 0],
            "inputs": [guests.tensor("x")],
            "outputs": [guests.tensor("y")],
        },
    ),
}


@pytest.fixture(scope="module")
def programs() -> dict[str, Program]:
    return {name: Program.load(module) for name, module in MODULES.items()}


@relaxed
@given(name=st.sampled_from(sorted(MODULES)), shape=npst.array_shapes(min_dims=0, max_dims=9, min_side=0, max_side=5))
def test_a_shape_is_refused_before_the_data_are_read_in_the_words_of_the_runtime(
    programs: dict[str, Program], name: str, shape: tuple[int, ...]
) -> None:
    """Where the runtime says more than that, it knows the kernel: the signature, the output's size."""
    program, said, wanted = programs[name], "", ""
    array = np.broadcast_to(np.float32(1), shape)
    try:
        check_metadata(program.interface, {"x": ("FP32", shape)})
    except RequestError as problem:
        said = problem.message
    try:
        program.run({program.interface.inputs[0].name: array})
    except InputError as problem:
        wanted = str(problem)
    assert said == wanted or (name == "gufunc" and not said)


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ((), None),
        ((0, (1 << 60) - 1), None),
        ((0, 1 << 60), "which is too large"),
        ((1 << 30, 1 << 30), "which is too large"),
        ((3, -1), "expected sizes of at least 0"),
        ((1,) * 32, None),
        ((1,) * 33, "has rank 33; at most 32 is allowed"),
    ],
)
def test_a_shape_is_allowed_if_numpy_can_have_it(shape: tuple[int, ...], problem: str | None) -> None:
    if problem is None:
        assert checked_shape("input 'x'", shape) == shape
        assert 0 not in shape or np.empty(0, np.float64).reshape(shape).shape == shape
        return
    with pytest.raises(RequestError, match=problem) as caught:
        checked_shape("input 'x'", shape)
    assert caught.value.status == 400 and str(caught.value).startswith("input 'x' has ")
