"""Scalars in requests and responses: vectors of one element, as in Triton."""

from __future__ import annotations

import numpy as np
import pytest

from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.interface.interface import Convention, Interface, TensorSpec
from portalis.nim.service.codec.scalars import ScalarTensors
from portalis.nim.service.codec.tensor_checks import check_metadata
from portalis.nim.service.request_errors import RequestError

SCALAR, VECTOR = TensorSpec("x", DTYPES["FP32"], ()), TensorSpec("v", DTYPES["FP32"], (-1,))


def interface(batch: int, convention: Convention = Convention.DLPACK) -> Interface:
    return Interface("f", convention, (SCALAR, VECTOR), (SCALAR, VECTOR), max_batch_size=batch)


@pytest.mark.parametrize("convention", [Convention.DLPACK, Convention.GUFUNC])
@pytest.mark.parametrize("batch", [0, 4])
def test_a_scalar_is_accepted_in_both_forms_and_returned_as_a_vector(batch: int, convention: Convention) -> None:
    scalars, rows = ScalarTensors(interface(batch, convention)), (3,) if batch else ()
    vector = np.zeros((*rows, 1), np.float32)
    for shape in (rows, (*rows, 1)):
        inputs = scalars.module_inputs({"x": np.zeros(shape, np.float32), "v": vector})
        assert inputs["x"].shape == rows and inputs["v"].shape == vector.shape
        check_metadata(interface(batch), {"x": ("FP32", shape), "v": ("FP32", vector.shape)})
    outputs = scalars.served_outputs({"x": np.zeros(rows, np.float32), "v": vector})
    assert outputs["x"].shape == (*rows, 1) and outputs["v"].shape == vector.shape


def test_other_shapes_stay_as_they_are() -> None:
    scalars = ScalarTensors(interface(0))
    for shape in ((2,), (1, 1), (0,)):
        assert scalars.module_shape("x", shape) == shape
        with pytest.raises(RequestError, match="input 'x' has shape"):
            check_metadata(interface(0), {"x": ("FP32", shape), "v": ("FP32", (1,))})
    assert scalars.module_shape("v", (1,)) == (1,)
    assert ScalarTensors(interface(0, Convention.ELEMENTWISE)).module_shape("x", (1,)) == (1,)
