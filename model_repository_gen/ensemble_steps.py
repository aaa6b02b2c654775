"""Checks an ensemble against the models of its steps: they exist, and names, data types and dims match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..problems import did_you_mean
from .pbtxt import Message, ModelConfig, enum_name
from .rules.ensembles import STEP
from .rules.model_folder import served_versions
from .rules.rule import Problems, error
from .rules.tensors import VARIABLE_DIM

LATEST = -1


@dataclass(frozen=True, slots=True)
class EnsembleTensor:
    """An ensemble tensor as one model describes it."""

    owner: str
    data_type: str
    dims: tuple[int, ...]
    batched: frozenset[bool]
    """Whether the model batches; both values if the server decides."""

    def matches(self, other: EnsembleTensor) -> bool:
        """Whether the shapes can be equal: as they are, or with the batch dimension of either model."""
        own = {self.dims} | {((VARIABLE_DIM,) if b else ()) + self.dims for b in self.batched}
        theirs = {other.dims} | {((VARIABLE_DIM,) if b else ()) + other.dims for b in other.batched}
        if _dims_match(self.dims, other.dims):
            return True
        return any(_dims_match(a, b) for a in own for b in theirs if (a, b) != (self.dims, other.dims))


def _dims_match(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return len(a) == len(b) and all(VARIABLE_DIM in (x, y) or x == y for x, y in zip(a, b))


def check_ensemble_steps(
    name: str, configs: Mapping[str, ModelConfig], repository: Path, *, auto_complete: bool = False
) -> Problems:
    """Problems of ensemble `name` among the models of a repository. Raises OSError if a model cannot be read."""
    ensemble = configs[name]
    tensors: dict[str, EnsembleTensor] = {}
    for side in ("input", "output"):
        for each in getattr(ensemble, side):
            shape = each.reshape.shape if each.HasField("reshape") else each.dims
            batched = frozenset([ensemble.max_batch_size > 0])
            tensors[each.name] = EnsembleTensor(name, enum_name(each, "data_type"), tuple(shape), batched)
    for i, step in enumerate(ensemble.ensemble_scheduling.step):
        where = f"{STEP}[{i}]"
        model = configs.get(step.model_name)
        if model is None:
            if step.model_name:
                message = f"the repository has no model {step.model_name!r} that can be loaded"
                yield error(
                    f"{where}.model_name", message, did_you_mean(step.model_name, sorted(set(configs) - {name}))
                )
            continue
        yield from _version(step, model, repository, f"{where}.model_version")
        if 0 < model.max_batch_size < ensemble.max_batch_size:
            message = (
                f"expected at most {model.max_batch_size} (max_batch_size of model {step.model_name!r}),"
                f" got {ensemble.max_batch_size}"
            )
            yield error("max_batch_size", message, f"Lower it to {model.max_batch_size}.")
        yield from _mapped(step, model, where, tensors, auto_complete)
    yield from _streams(ensemble, configs)


def _version(step: Message, model: ModelConfig, repository: Path, where: str) -> Problems:
    if step.model_version == LATEST:
        return
    served = served_versions(model, repository / step.model_name)
    if step.model_version not in served:
        message = f"version {step.model_version} of model {step.model_name!r} is not served, only {served}"
        yield error(where, message, "Set -1 for the latest version (an omitted model_version is 0).")


def _mapped(
    step: Message, model: ModelConfig, where: str, tensors: dict[str, EnsembleTensor], auto_complete: bool
) -> Problems:
    for side, field in (("input_map", "input"), ("output_map", "output")):
        described = {tensor.name: tensor for tensor in getattr(model, field)}
        if not described and auto_complete:
            continue  # the backend will provide them
        mapping = getattr(step, side)
        for inner in sorted(mapping):
            loc = f"{where}.{side}[{inner}]"
            if inner in described:
                yield from _consistent(described[inner], model, step.model_name, mapping[inner], loc, tensors)
                continue
            message = f"model {step.model_name!r} has no {field} {inner!r}"
            yield error(
                loc, message, did_you_mean(inner, sorted(described)) if described else f"Remove it from {side}."
            )
        for inner, tensor in described.items():
            if field == "input" and inner not in mapping and not tensor.optional:
                message = f"input {inner!r} of model {step.model_name!r} is not mapped"
                yield error(f"{where}.{side}", message, "Map it to a tensor of the ensemble.")


def _consistent(
    inner: Message, model: ModelConfig, owner: str, outer: str, where: str, tensors: dict[str, EnsembleTensor]
) -> Problems:
    data_type = enum_name(inner, "data_type")
    if data_type == "TYPE_INVALID" or not inner.dims:
        return  # the backend completes it, or the check of the model itself reports it
    # Triton compares the dims here, not the reshape
    server_decides = model.max_batch_size == 0 and not model.HasField("ensemble_scheduling")
    tensor = EnsembleTensor(owner, data_type, tuple(inner.dims), frozenset([model.max_batch_size > 0]))
    known = tensors.setdefault(outer, tensor)
    if known.data_type != data_type:
        message = f"tensor {outer!r} is {data_type} in {owner!r} and {known.data_type} in {known.owner!r}"
        yield error(
            where, message, f"Convert it in a step between them, or change its type in {owner!r} or {known.owner!r}."
        )
    elif not known.matches(tensor) and not (server_decides and known.matches(_batched(tensor))):
        message = f"tensor {outer!r} is {list(tensor.dims)} in {owner!r} and {list(known.dims)} in {known.owner!r}"
        yield error(where, message, "Use dims that match, including the batch dimension of max_batch_size.")


def _batched(tensor: EnsembleTensor) -> EnsembleTensor:
    return EnsembleTensor(tensor.owner, tensor.data_type, tensor.dims, frozenset([True]))


def _streams(ensemble: ModelConfig, configs: Mapping[str, ModelConfig]) -> Problems:
    """Steps that combine tensors of different streams.

    A decoupled model sends any number of responses per request, so a step cannot combine its outputs with other
    tensors.
    """
    streams = {tensor.name: "" for tensor in ensemble.input}
    waiting = dict(enumerate(ensemble.ensemble_scheduling.step))
    while True:
        ready = [i for i, step in waiting.items() if all(t in streams for t in step.input_map.values())]
        if not ready:
            return
        for i in ready:
            step = waiting.pop(i)
            sources = sorted({streams[tensor] for tensor in step.input_map.values()})
            if len(sources) > 1:
                message = f"model {step.model_name!r} gets tensors of different streams ({_describe(sources)})"
                yield error(
                    f"{STEP}[{i}].input_map", message, "Map tensors that depend on at most one decoupled model."
                )
                return
            model = configs.get(step.model_name)
            stream = sources[0] if sources else ""
            if model is not None and model.model_transaction_policy.decoupled:
                stream = f"step {i}, {step.model_name!r}"
            streams.update(dict.fromkeys(step.output_map.values(), stream))


def _describe(sources: list[str]) -> str:
    return " and ".join(source or "the request" for source in sources)


def cycles(configs: Mapping[str, ModelConfig]) -> dict[str, str]:
    """The ensembles that contain themselves, each with its cycle: ``a -> b -> a``."""
    after = {
        name: sorted({s.model_name for s in config.ensemble_scheduling.step} & set(configs))
        for name, config in configs.items()
    }
    return {name: " -> ".join(path) for name in configs if (path := _cycle(name, after))}


def _cycle(start: str, after: Mapping[str, list[str]]) -> list[str]:
    paths, seen = [[start]], set()
    for path in paths:
        for name in after[path[-1]]:
            if name == start:
                return [*path, start]
            if name not in seen:
                seen.add(name)
                paths.append([*path, name])
    return []
