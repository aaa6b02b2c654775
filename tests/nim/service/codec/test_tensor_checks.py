"""Checks of declared shapes: before data is converted, and with the same messages as the runtime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from portalis.backend import InputError, Program
from portalis.nim.service.codec.tensor_checks import check_metadata, checked_shape
from portalis.nim.service.request_errors import RequestError
from tests.backend import guests

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines can be busy

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
def test_a_shape_is_rejected_before_data_is_read_with_the_runtimes_message(
    programs: dict[str, Program], name: str, shape: tuple[int, ...]
) -> None:
    """Only the runtime rejects shapes because of the kernel: its signature, and the size of its output."""
    program, message, expected = programs[name], "", ""
    array = np.broadcast_to(np.float32(1), shape)
    try:
        check_metadata(program.interface, {"x": ("FP32", shape)})
    except RequestError as error:
        message = error.message
    try:
        program.run({program.interface.inputs[0].name: array})
    except InputError as error:
        expected = str(error)
    assert message == expected or (name == "gufunc" and not message)


@pytest.mark.parametrize(
    ("shape", "message"),
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
def test_a_shape_is_allowed_if_numpy_supports_it(shape: tuple[int, ...], message: str | None) -> None:
    if message is None:
        assert checked_shape("input 'x'", shape) == shape
        assert 0 not in shape or np.empty(0, np.float64).reshape(shape).shape == shape
        return
    with pytest.raises(RequestError, match=message) as caught:
        checked_shape("input 'x'", shape)
    assert caught.value.status == 400 and str(caught.value).startswith("input 'x' has ")
