"""Warm-up samples: requests that Triton makes and runs while the model loads; the load fails when one does."""

from __future__ import annotations

import math

from ..pbtxt import Message, ModelConfig, enum_name
from .model_folder import count_strings, data_size, missing_file, short_file
from .rule import PYTHON_BASED, Problems, RuleContext, error, warning
from .tensors import VARIABLE_DIM

FOLDER = "warmup"


def check_warmup(config: ModelConfig, context: RuleContext) -> Problems:
    if config.HasField("ensemble_scheduling"):
        return  # it may have none: see the rules of ensembles
    for i, sample in enumerate(config.model_warmup):
        where = f"model_warmup[{i}]"
        if sample.batch_size == 0:
            said = f"sample {sample.name!r} has batch_size 0, so it is left out"
            yield warning(f"{where}.batch_size", said, "Set 1 or more.")
            continue
        yield from _sample(sample, where, config, context)


def _sample(sample: Message, where: str, config: ModelConfig, context: RuleContext) -> Problems:
    most = max(1, config.max_batch_size)
    completed = context.auto_complete and not config.max_batch_size
    if config.backend in PYTHON_BASED and sample.batch_size > most and not completed:
        said = f"sample {sample.name!r} has {sample.batch_size} rows, and the model takes batches of {most}"
        yield error(f"{where}.batch_size", said, f"Set 1 to {most}.")
    inputs = {tensor.name: tensor for tensor in config.input}
    for name in sorted(sample.inputs):
        at = f"{where}.inputs[{name}]"
        yield from _input(sample.inputs[name], name, at, context)
        if inputs and name in inputs:
            yield from _fits(sample.inputs[name], inputs[name], at)
        elif inputs and name not in {tensor.name for tensor in config.sequence_batching.control_input}:
            said = f"the model has no input {name!r}; Triton hands it over all the same"
            yield warning(at, said, f"Use the model's inputs: {', '.join(inputs)}.")
    for name, tensor in inputs.items():
        if name not in sample.inputs and not tensor.optional:
            said = f"sample {sample.name!r} has no input {name!r}"
            yield error(f"{where}.inputs", said, "Give it every input that is not optional.")


def _input(data: Message, name: str, where: str, context: RuleContext) -> Problems:
    source = data.WhichOneof("input_data_type")
    if source is None:
        yield error(where, f"{name!r} has no data", "Set zero_data: true, random_data: true or input_data_file.")
    if any(dim < 0 for dim in data.dims):
        yield error(f"{where}.dims", f"{name!r} has the dims {list(data.dims)}", "Give every dim a size.")
    elif source == "input_data_file" and context.folder is not None:
        yield from _file(data, f"{where}.input_data_file", context)


def _file(data: Message, where: str, context: RuleContext) -> Problems:
    assert context.folder is not None
    folder = context.folder / FOLDER
    missing = list(missing_file(context.folder, folder, data.input_data_file, where, "warm-up data"))
    yield from missing
    if missing:
        return
    path, count, data_type = folder / data.input_data_file, math.prod(data.dims), enum_name(data, "data_type")
    yield from short_file(path, data_size(data_type, count), where)
    if data_type == "TYPE_STRING" and (have := count_strings(path)) != count:
        said = (
            f"{path.name} holds {'no whole number of' if have is None else have} elements, and the tensor has {count}"
        )
        yield error(where, said, "Write each element as its length in four bytes, little-endian, then its bytes.")


def _fits(data: Message, tensor: Message, where: str) -> Problems:
    wanted, dims = list(tensor.dims), list(data.dims)
    if enum_name(tensor, "data_type") != "TYPE_INVALID" and data.data_type != tensor.data_type:
        said = (
            f"{tensor.name!r} is {enum_name(data, 'data_type')} here and {enum_name(tensor, 'data_type')} in the model"
        )
        yield error(f"{where}.data_type", said, "Give it the data type of the input.")
    if wanted and (len(dims) != len(wanted) or any(b not in (VARIABLE_DIM, a) for a, b in zip(dims, wanted))):
        said = f"{tensor.name!r} has the dims {dims} here and {wanted} in the model"
        yield error(f"{where}.dims", said, "Give it the dims of the input, without the batch.")
