"""The plan of an ensemble: its steps with the models that they call, and the steps that a request needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..codec import OutputRequest
from ..runtime_api import TensorSpec
from ..served_model import ServedModel

_MAX_SELECTIONS = 64  # clients request few different sets of outputs


@dataclass(frozen=True, slots=True)
class StepTensor:
    """An input or output of a step's model, and the ensemble's tensor that it is mapped to."""

    spec: TensorSpec
    tensor: str


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step with its model."""

    index: int
    model: ServedModel
    batches: bool
    """Whether the tensors of the model have a batch dimension."""
    inputs: tuple[StepTensor, ...]
    outputs: tuple[StepTensor, ...]
    requested: list[OutputRequest]
    """The outputs that the step requests of its model."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The steps that produce a set of outputs."""

    steps: tuple[PlannedStep, ...]
    first: tuple[PlannedStep, ...]
    """The steps that read inputs of the ensemble only."""
    waits: dict[int, int]
    """The number of steps that each other step waits for, by index."""
    followers: dict[int, tuple[PlannedStep, ...]]
    """The steps that wait for a step, by its index."""
    readers: Counter[str]
    """The number of readers of each tensor: steps, and the response."""


@dataclass(slots=True)
class EnsemblePlan:
    """The steps of an ensemble. `batched` has the tensors with a batch dimension."""

    steps: tuple[PlannedStep, ...]
    batched: frozenset[str]
    _selections: dict[frozenset[str], Selection] = field(default_factory=dict)

    def select(self, outputs: frozenset[str]) -> Selection:
        """The steps that `outputs` depend on."""
        found = self._selections.get(outputs)
        if found is None:
            found = _select(self.steps, outputs)
            if len(self._selections) < _MAX_SELECTIONS:
                self._selections[outputs] = found
        return found


def _select(steps: tuple[PlannedStep, ...], outputs: frozenset[str]) -> Selection:
    producers = {each.tensor: step for step in steps for each in step.outputs}
    needed: dict[int, PlannedStep] = {}
    pending = [producers[tensor] for tensor in outputs if tensor in producers]
    while pending:
        step = pending.pop()
        if step.index not in needed:
            needed[step.index] = step
            pending += [producers[each.tensor] for each in step.inputs if each.tensor in producers]
    selected = tuple(needed[index] for index in sorted(needed))
    waits: dict[int, int] = {}
    followers: dict[int, list[PlannedStep]] = {step.index: [] for step in selected}
    for step in selected:
        sources = {producers[each.tensor].index for each in step.inputs if each.tensor in producers}
        for source in sources:
            followers[source].append(step)
        if sources:
            waits[step.index] = len(sources)
    return Selection(
        steps=selected,
        first=tuple(step for step in selected if step.index not in waits),
        waits=waits,
        followers={index: tuple(each) for index, each in followers.items()},
        readers=_readers(selected, outputs),
    )


def _readers(steps: Iterable[PlannedStep], outputs: frozenset[str]) -> Counter[str]:
    readers = Counter(outputs)
    for step in steps:
        readers.update({each.tensor for each in step.inputs})
    return readers
