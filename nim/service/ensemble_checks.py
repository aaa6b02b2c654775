"""Checks of the ensembles in ``service.json`` that need no loaded model: steps name models of the service, tensors
connect, and no ensemble contains itself. The rules are those of Triton."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .ensemble_nesting import nesting_problems
from .ensemble_settings import EnsembleOutputSettings, EnsembleSettings, StepSettings


def ensemble_problems(ensembles: Sequence[EnsembleSettings], versions: Mapping[str, str]) -> Iterator[str]:
    """All problems of `ensembles`, each with its key path. `versions` has the version of each model, ensembles
    included."""
    for i, ensemble in enumerate(ensembles):
        where = f"ensembles[{i}]"
        yield from _tensor_problems(ensemble.inputs, ensemble.max_batch_size, f"{where}.inputs")
        yield from _tensor_problems(ensemble.outputs, ensemble.max_batch_size, f"{where}.outputs")
        invalid_steps = [
            problem
            for j, step in enumerate(ensemble.steps)
            for problem in _model_problems(step, versions, f"{where}.steps[{j}]")
        ]
        invalid_steps += _rewritten_tensors(ensemble, where)
        yield from invalid_steps or _flow_problems(ensemble, where)
    yield from nesting_problems(ensembles)


def _tensor_problems(tensors: Sequence[EnsembleOutputSettings], max_batch_size: int, where: str) -> Iterator[str]:
    seen: set[str] = set()
    for i, tensor in enumerate(tensors):
        if tensor.name in seen:
            yield f"{where}[{i}].name: another tensor is also named {tensor.name!r}"
        seen.add(tensor.name)
        for key, sizes in (("dims", tensor.dims), ("reshape", tensor.reshape or ())):
            if 0 in sizes:
                yield f"{where}[{i}].{key}: expected sizes of at least 1, or -1 for any size, got {list(sizes)}"
        if tensor.reshape is None:
            continue
        if not tensor.reshape and not max_batch_size:
            yield f"{where}[{i}].reshape: only the tensors of an ensemble with max_batch_size can become scalars"
        elif _runs(tensor.dims) != _runs(tensor.reshape):
            text = f"{list(tensor.dims)} cannot be reshaped to {list(tensor.reshape)}"
            yield f"{where}[{i}].reshape: {text}; keep the number of elements, also between one -1 and the next"


def _runs(dims: Sequence[int]) -> list[int]:
    """The numbers of elements before, between and after the variable dims, which a reshape keeps."""
    runs, start = [], 0
    for i, size in enumerate((*dims, -1)):
        if size == -1:
            runs.append(math.prod(dims[start:i]))
            start = i + 1
    return runs


def _model_problems(step: StepSettings, versions: Mapping[str, str], where: str) -> Iterator[str]:
    version = versions.get(step.model_name)
    if version is None:
        yield f"{where}.model_name: unknown model {step.model_name!r}; the models are {_listed(versions)}"
    elif step.model_version != -1 and str(step.model_version) != version:
        yield f"{where}.model_version: model {step.model_name!r} has version {version}, not {step.model_version}"


def _listed(names: Iterable[str]) -> str:
    ordered = list(names)
    return ", ".join(ordered[:20]) + (f" and {len(ordered) - 20} others" if len(ordered) > 20 else "")


def _rewritten_tensors(ensemble: EnsembleSettings, where: str) -> Iterator[str]:
    """Tensors that are written more than once, or that the request already contains."""
    inputs, written = {tensor.name for tensor in ensemble.inputs}, set[str]()
    for j, step in enumerate(ensemble.steps):
        for tensor in step.output_map.values():
            if tensor in written:
                yield f"{where}.steps[{j}].output_map: tensor {tensor!r} is written twice"
            elif tensor in inputs:
                yield f"{where}.steps[{j}].output_map: tensor {tensor!r} is an input of the ensemble"
            written.add(tensor)


def _flow_problems(ensemble: EnsembleSettings, where: str) -> Iterator[str]:
    """Tensors that no request and no step provides, and tensors that are used by no step and no response."""
    read = {tensor for step in ensemble.steps for tensor in step.input_map.values()}
    written = {tensor for step in ensemble.steps for tensor in step.output_map.values()}
    inputs, outputs = {tensor.name for tensor in ensemble.inputs}, {tensor.name for tensor in ensemble.outputs}
    for i, tensor in enumerate(ensemble.inputs):
        if tensor.name not in read:
            yield f"{where}.inputs[{i}].name: no step uses input {tensor.name!r}"
    optional = {tensor.name for tensor in ensemble.inputs if tensor.optional}
    for i, output in enumerate(ensemble.outputs):
        if output.name in optional:
            yield f"{where}.outputs[{i}].name: {output.name!r} is an optional input, which requests can omit"
        elif output.name not in written | inputs:
            yield f"{where}.outputs[{i}].name: no step writes output {output.name!r}"
    for j, step in enumerate(ensemble.steps):
        for tensor_name in sorted(set(step.input_map.values()) - written - inputs):
            yield f"{where}.steps[{j}].input_map: tensor {tensor_name!r} is neither an input nor written by a step"
        for tensor_name in sorted(set(step.output_map.values()) - read - outputs):
            yield f"{where}.steps[{j}].output_map: no step uses tensor {tensor_name!r}"
    yield from _waiting_steps(ensemble, where, inputs, written)


def _waiting_steps(ensemble: EnsembleSettings, where: str, inputs: set[str], written: set[str]) -> Iterator[str]:
    """The first step that never starts because steps depend on each other."""
    missing = {j: set(step.input_map.values()) - inputs for j, step in enumerate(ensemble.steps)}
    readers = defaultdict[str, list[int]](list)
    for j, tensors in missing.items():
        for tensor in tensors:
            readers[tensor].append(j)
    ready = [j for j, tensors in missing.items() if not tensors]
    for j in ready:  # grows
        for tensor in ensemble.steps[j].output_map.values():
            for reader in readers[tensor]:
                missing[reader].discard(tensor)
                if not missing[reader]:
                    ready.append(reader)
    for j, tensors in missing.items():
        if tensors and tensors <= written:
            text = f"tensor {min(tensors)!r} is never written: the steps wait for each other"
            yield f"{where}.steps[{j}].input_map: {text}"
            return
