"""Interfaces, shapes and values at random: the executor in Python, the core and NumPy agree."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings

from portalis.backend.interface.dtypes import bf16_to_f32
from portalis.backend.plan import planner
from portalis.backend.plan.elementwise_loop import build_elementwise_loop
from tests.backend.cases import in_process, random_dlpack, random_elementwise, random_gufunc
from tests.backend.cases.case import Call, Case, Outcome, content
from tests.backend.cases.drawn import Drawn

FEW = settings(max_examples=max(10, settings().max_examples // 6))


def check(drawn: Drawn) -> None:
    """All executors agree byte for byte, and with NumPy, but for the bits of a NaN."""
    case = Case("random", drawn.module, (Call(drawn.requests, drawn.answers),) * 2, drawn.isolation)
    first = None
    for way in in_process.WAYS:
        with pytest.MonkeyPatch.context() as patch:
            build = partial(build_elementwise_loop, chunk_bytes=drawn.chunk_bytes)
            patch.setattr(planner, "build_elementwise_loop", build)
            found, _ = in_process.run(case, way)
        first = first or found
        assert found == first, way
    for outcomes in first or ():
        for answer, got in zip(drawn.answers, outcomes, strict=True):
            assert isinstance(got, dict), got
            assert got.keys() == answer.keys()
            for name, wanted in answer.items():
                _equal(name, got, np.asarray(wanted))


def _equal(name: str, got: Outcome, wanted: np.ndarray) -> None:
    assert isinstance(got, dict)
    dtype, shape, octets = got[name]
    assert (dtype, shape) == (wanted.dtype.name, wanted.shape), name
    if octets != content(wanted):
        found = np.frombuffer(octets, wanted.dtype).reshape(shape)
        wide = [bf16_to_f32(a) if a.dtype == np.uint16 else a for a in (found, wanted)]
        assert wide[0].dtype.kind == "f", (name, found, wanted)
        same = (found == wanted) | (np.isnan(wide[0]) & np.isnan(wide[1]))
        assert same.all(), (name, found, wanted)


@FEW
@given(random_elementwise.elementwise())
def test_elementwise_at_random(drawn: Drawn) -> None:
    check(drawn)


@FEW
@given(random_gufunc.gufunc())
def test_gufunc_at_random(drawn: Drawn) -> None:
    check(drawn)


@FEW
@given(random_dlpack.dlpack())
def test_dlpack_at_random(drawn: Drawn) -> None:
    check(drawn)
