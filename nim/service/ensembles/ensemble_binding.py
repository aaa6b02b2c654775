"""Binds the steps of an ensemble to loaded models, and checks that their tensors fit, by Triton's rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..codec import OutputRequest
from ..codec.scalars import served_dims
from ..ensemble_settings import EnsembleOutputSettings, EnsembleSettings, StepSettings
from ..request_errors import input_error
from ..runtime_api import Interface, TensorSpec, parse_dtype
from ..served_model import ServedModel
from .ensemble_plan import EnsemblePlan, PlannedStep, StepTensor
from .ensemble_shapes import dims_match


@dataclass(frozen=True, slots=True)
class _Described:
    """A tensor of an ensemble as one model describes it."""

    owner: str
    data_type: str
    dims: tuple[int, ...]
    batched: bool

    @property
    def full_dims(self) -> tuple[int, ...]:
        """The dims with the batch dimension."""
        return (-1, *self.dims) if self.batched else self.dims


def bind_ensemble(settings: EnsembleSettings, models: Mapping[str, ServedModel]) -> EnsemblePlan:
    """The plan of the ensemble, whose `models` are loaded. Raises RequestError with all problems."""
    if problems := [*_batch_problems(settings, models), *_tensor_problems(settings, models)]:
        raise input_error("; ".join(problems))
    steps = tuple(_planned(i, step, models[step.model_name]) for i, step in enumerate(settings.steps))
    batched = {each.tensor for step in steps if step.batches for each in step.outputs}
    if settings.max_batch_size:
        batched.update(tensor.name for tensor in settings.inputs)
    return EnsemblePlan(steps, frozenset(batched))


def _planned(index: int, step: StepSettings, model: ServedModel) -> PlannedStep:
    interface = model.interface
    inputs = {spec.name: spec for spec in interface.inputs}
    outputs = {spec.name: spec for spec in interface.outputs}
    return PlannedStep(
        index=index,
        model=model,
        batches=interface.max_batch_size > 0,
        inputs=tuple(StepTensor(inputs[name], tensor) for name, tensor in step.input_map.items()),
        outputs=tuple(StepTensor(outputs[name], tensor) for name, tensor in step.output_map.items()),
        requested=[OutputRequest(outputs[name], binary=True) for name in step.output_map],
    )


def _batch_problems(settings: EnsembleSettings, models: Mapping[str, ServedModel]) -> Iterator[str]:
    for name in dict.fromkeys(step.model_name for step in settings.steps):
        size = models[name].interface.max_batch_size
        if 0 < size < settings.max_batch_size:
            yield (
                f"ensemble {settings.name} allows maximum batch size {settings.max_batch_size}, but it contains model"
                f" {name} which only allows maximum batch size to be {size}"
            )


def _tensor_problems(settings: EnsembleSettings, models: Mapping[str, ServedModel]) -> Iterator[str]:
    for problem in _step_problems(settings, models):
        yield f"in ensemble {settings.name}, {problem}"


def _step_problems(settings: EnsembleSettings, models: Mapping[str, ServedModel]) -> Iterator[str]:
    tensors: dict[str, _Described] = {}
    for tensor in (*settings.inputs, *settings.outputs):
        known = tensors.setdefault(tensor.name, _declared(settings, tensor))
        yield from _inconsistencies(tensor.name, known, _declared(settings, tensor))
    for step in settings.steps:
        interface = models[step.model_name].interface
        yield from _unmapped(step, interface)
        for specs, mapping in ((interface.inputs, step.input_map), (interface.outputs, step.output_map)):
            for spec in specs:
                if spec.name in mapping:
                    described = _described(step.model_name, spec, interface)
                    known = tensors.setdefault(mapping[spec.name], described)
                    yield from _inconsistencies(mapping[spec.name], known, described)


def _unmapped(step: StepSettings, interface: Interface) -> Iterator[str]:
    inputs, outputs = ({spec.name for spec in specs} for specs in (interface.inputs, interface.outputs))
    name = step.model_name
    for inner, tensor in step.input_map.items():
        if inner not in inputs:
            yield f"ensemble tensor {tensor} is mapping to non-existing input {inner} in model {name}"
    for inner, tensor in step.output_map.items():
        if inner not in outputs:
            yield f"ensemble tensor {tensor} is mapped from non-existing output {inner} in model {name}"
    for spec in interface.inputs:
        if not spec.optional and spec.name not in step.input_map:
            yield f"input {spec.name} in model {name} is not mapped to any ensemble tensors"


def _declared(settings: EnsembleSettings, tensor: EnsembleOutputSettings) -> _Described:
    dims = tensor.dims if tensor.reshape is None else tensor.reshape
    return _Described(settings.name, parse_dtype(tensor.data_type).triton, dims, settings.max_batch_size > 0)


def _described(owner: str, spec: TensorSpec, interface: Interface) -> _Described:
    return _Described(owner, spec.dtype.triton, served_dims(spec), interface.max_batch_size > 0)


def _inconsistencies(tensor: str, one: _Described, other: _Described) -> Iterator[str]:
    if one.data_type != other.data_type:
        kind, left, right = "data type", one.data_type, other.data_type
    elif not dims_match(one.dims, other.dims) and not dims_match(one.full_dims, other.full_dims):
        kind, left, right = "shape", _listed(one.full_dims), _listed(other.full_dims)
    else:
        return
    yield (
        f"ensemble tensor {tensor}: inconsistent {kind}: {left} is inferred from model {one.owner} while {right} is"
        f" inferred from model {other.owner}"
    )


def _listed(dims: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, dims))}]"
