"""An ensemble against the models of its steps: that they are there, and that names, data types and dims meet."""

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
    """An ensemble tensor as one model describes it. `batched` holds both answers where the server will decide."""

    owner: str
    data_type: str
    dims: tuple[int, ...]
    batched: frozenset[bool]

    def meets(self, other: EnsembleTensor) -> bool:
        """Whether the shapes can be one: as they are, or with the batch dimension of either."""
        mine = {self.dims} | {((VARIABLE_DIM,) if b else ()) + self.dims for b in self.batched}
        theirs = {other.dims} | {((VARIABLE_DIM,) if b else ()) + other.dims for b in other.batched}
        if _meet(self.dims, other.dims):
            return True
        return any(_meet(a, b) for a in mine for b in theirs if (a, b) != (self.dims, other.dims))


def _meet(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return len(a) == len(b) and all(VARIABLE_DIM in (x, y) or x == y for x, y in zip(a, b))


def check_ensemble_steps(
    name: str, configs: Mapping[str, ModelConfig], repository: Path, *, auto_complete: bool = False
) -> Problems:
    """The problems of ensemble `name` among the models of a repository. Raises OSError when one cannot be read."""
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
                said = f"there is no model {step.model_name!r} that can be loaded"
                yield error(f"{where}.model_name", said, did_you_mean(step.model_name, sorted(set(configs) - {name})))
            continue
        yield from _version(step, model, repository, f"{where}.model_version")
        if 0 < model.max_batch_size < ensemble.max_batch_size:
            said = f"it is {ensemble.max_batch_size}, and model {step.model_name!r} takes {model.max_batch_size}"
            yield error("max_batch_size", said, f"Lower it to {model.max_batch_size}.")
        yield from _mapped(step, model, where, tensors, auto_complete)
    yield from _streams(ensemble, configs)


def _version(step: Message, model: ModelConfig, repository: Path, where: str) -> Problems:
    if step.model_version == LATEST:
        return
    served = served_versions(model, repository / step.model_name)
    if step.model_version not in served:
        said = f"version {step.model_version} of {step.model_name!r} is not served, only {served}"
        yield error(where, said, "Set -1 for the latest version (what is left out means 0).")


def _mapped(
    step: Message, model: ModelConfig, where: str, tensors: dict[str, EnsembleTensor], auto_complete: bool
) -> Problems:
    for side, field in (("input_map", "input"), ("output_map", "output")):
        described = {tensor.name: tensor for tensor in getattr(model, field)}
        if not described and auto_complete:
            continue  # the backend will say
        mapping = getattr(step, side)
        for inner in sorted(mapping):
            at = f"{where}.{side}[{inner}]"
            if inner in described:
                yield from _consistent(described[inner], model, step.model_name, mapping[inner], at, tensors)
                continue
            said = f"model {step.model_name!r} has no {field} {inner!r}"
            yield error(at, said, did_you_mean(inner, sorted(described)) if described else "Take it out.")
        for inner, tensor in described.items():
            if field == "input" and inner not in mapping and not tensor.optional:
                said = f"input {inner!r} of model {step.model_name!r} is not mapped"
                yield error(f"{where}.{side}", said, "Map it to a tensor of the ensemble.")


def _consistent(
    inner: Message, model: ModelConfig, owner: str, outer: str, where: str, tensors: dict[str, EnsembleTensor]
) -> Problems:
    data_type = enum_name(inner, "data_type")
    if data_type == "TYPE_INVALID" or not inner.dims:
        return  # left to the backend, or told where the model itself is checked
    # Triton takes the dims here, not the reshape
    undecided = model.max_batch_size == 0 and not model.HasField("ensemble_scheduling")
    mine = EnsembleTensor(owner, data_type, tuple(inner.dims), frozenset([model.max_batch_size > 0]))
    known = tensors.setdefault(outer, mine)
    if known.data_type != data_type:
        said = f"tensor {outer!r} is {data_type} in {owner!r} and {known.data_type} in {known.owner!r}"
        yield error(where, said, f"Convert it in a step between, or change its type in {owner!r} or {known.owner!r}.")
    elif not known.meets(mine) and not (undecided and known.meets(_batched(mine))):
        said = f"tensor {outer!r} is {list(mine.dims)} in {owner!r} and {list(known.dims)} in {known.owner!r}"
        yield error(where, said, "Make the dims meet (the batch dimension of max_batch_size counts).")


def _batched(tensor: EnsembleTensor) -> EnsembleTensor:
    return EnsembleTensor(tensor.owner, tensor.data_type, tensor.dims, frozenset([True]))


def _streams(ensemble: ModelConfig, configs: Mapping[str, ModelConfig]) -> Problems:
    """A decoupled model answers any number of times, so its outputs go together with no tensor from elsewhere."""
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
                said = f"model {step.model_name!r} gets tensors of different streams ({_told(sources)})"
                yield error(f"{STEP}[{i}].input_map", said, "Take them from one decoupled model, or from none.")
                return
            model = configs.get(step.model_name)
            stream = sources[0] if sources else ""
            if model is not None and model.model_transaction_policy.decoupled:
                stream = f"step {i}, {step.model_name!r}"
            streams.update(dict.fromkeys(step.output_map.values(), stream))


def _told(sources: list[str]) -> str:
    return " and ".join(source or "the request" for source in sources)


def cycles(configs: Mapping[str, ModelConfig]) -> dict[str, str]:
    """The ensembles that lead back to themselves, each with the way: ``a -> b -> a``."""
    after = {
        name: sorted({s.model_name for s in config.ensemble_scheduling.step} & set(configs))
        for name, config in configs.items()
    }
    return {name: " -> ".join(way) for name in configs if (way := _way_back(name, after))}


def _way_back(start: str, after: Mapping[str, list[str]]) -> list[str]:
    ways, seen = [[start]], set()
    for way in ways:
        for name in after[way[-1]]:
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []
