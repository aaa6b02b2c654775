"""Random ensembles compute the same as their steps one after the other, and run only the steps that are needed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from portalis.nim.service.codec import OutputRequest
from portalis.nim.service.ensembles.ensemble_plan import EnsemblePlan, PlannedStep, StepTensor
from portalis.nim.service.runtime_api import TensorSpec, parse_dtype
from tests.nim.service.test_ensemble_checks import ensemble, problems, step

from .members import FunctionModel, asking, started


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Ensembles of the model m with one or two inputs and two outputs, without unused tensors; steps are in any order."""
    inputs = [f"i{i}" for i in range(draw(st.integers(1, 3)))]
    tensors, steps = list(inputs), list[dict[str, Any]]()
    for i in range(draw(st.integers(1, 9))):
        read = draw(st.lists(st.sampled_from(tensors), min_size=1, max_size=2))
        written = [f"t{i}{side}" for side in "ab"[: draw(st.integers(1, 2))]]
        steps.append(step("m", " ".join(read), " ".join(written)))
        tensors += written
    used = {tensor for each in steps for tensor in each["input_map"].values()}
    others = draw(st.sets(st.sampled_from(tensors)))
    outputs = [each for each in tensors if each not in inputs and (each not in used or each in others)]
    inputs = [each for each in inputs if each in used]
    return ensemble("e", " ".join(inputs), " ".join(outputs), *draw(st.permutations(steps)))


def compute(a: np.ndarray, b: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    total = a if b is None else a * 3 + b
    return total + 1, total * 2


def in_order(document: dict[str, Any], values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors, computed step by step."""
    waiting = list(document["steps"])
    while waiting:
        each = next(each for each in waiting if set(each["input_map"].values()) <= set(values))
        waiting.remove(each)
        found = compute(**{name: values[tensor] for name, tensor in each["input_map"].items()})
        values |= {tensor: found["yz".index(name)] for name, tensor in each["output_map"].items()}
    return values


def needed(document: dict[str, Any], outputs: set[str]) -> int:
    """The number of steps that `outputs` depend on."""
    wanted, count = set(outputs), -1
    while count != len(wanted):
        count = len(wanted)
        for each in document["steps"]:
            if wanted & set(each["output_map"].values()):
                wanted |= set(each["input_map"].values())
    return sum(bool(wanted & set(each["output_map"].values())) for each in document["steps"])


@given(documents(), st.data())
def test_a_random_ensemble_computes_its_outputs(document: dict[str, Any], data: st.DataObject) -> None:
    assert problems(document) == ""
    names = [each["name"] for each in document["outputs"]]
    wanted = data.draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
    member = FunctionModel("m", compute, inputs="ab", optional="b", outputs="yz")
    model = started([member], document)
    values = {each["name"]: np.array([i], np.float32) for i, each in enumerate(document["inputs"])}
    found = asyncio.run(model.run(replace(asking(model, *wanted), inputs=values)))
    expected = in_order(document, dict(values))
    assert {name: array.tolist() for name, array in found.items()} == {name: expected[name].tolist() for name in wanted}
    assert len(member.requests) == needed(document, set(wanted))


def test_the_number_of_remembered_selections_is_limited() -> None:
    names = [f"r{i}" for i in range(10)]
    member, spec = FunctionModel("m", compute), TensorSpec("y", parse_dtype("FP32"), (-1,))
    steps = tuple(
        PlannedStep(i, member, False, (StepTensor(spec, "x"),), (StepTensor(spec, name),), [OutputRequest(spec)])
        for i, name in enumerate(names)
    )
    plan = EnsemblePlan(steps, frozenset())
    for subset in range(1, 1 << 10):
        wanted = frozenset(name for i, name in enumerate(names) if subset >> i & 1)
        assert [each.index for each in plan.select(wanted).steps] == [i for i in range(10) if subset >> i & 1]
    first, last = frozenset(names[:1]), frozenset(names)
    assert plan.select(first) is plan.select(first)
    assert plan.select(last) is not plan.select(last)
