"""Rules for warm-up samples: requests that Triton sends while a model loads. If one fails, the model does not load."""

from __future__ import annotations

import math

from ..pbtxt import Message, ModelConfig, enum_name
from .model_folder import count_strings, data_size, missing_file, short_file
from .rule import PYTHON_BASED, Problems, RuleContext, error, warning
from .tensors import VARIABLE_DIM

_FOLDER = "warmup"


def check_warmup(config: ModelConfig, context: RuleContext) -> Problems:
    """Problems of the warm-up samples of a model that is not an ensemble."""
    if config.HasField("ensemble_scheduling"):
        return  # an ensemble must not have any: `check_ensemble`
    for i, sample in enumerate(config.model_warmup):
        where = f"model_warmup[{i}]"
        if sample.batch_size == 0:
            message = f"Triton ignores sample {sample.name!r}: its batch_size is 0"
            yield warning(f"{where}.batch_size", message, "Set 1 or more.")
            continue
        yield from _sample(sample, where, config, context)


def _sample(sample: Message, where: str, config: ModelConfig, context: RuleContext) -> Problems:
    max_rows = max(1, config.max_batch_size)
    completed = context.auto_complete and not config.max_batch_size
    if config.backend in PYTHON_BASED and sample.batch_size > max_rows and not completed:
        message = f"expected a batch_size of at most {max_rows} for sample {sample.name!r}, got {sample.batch_size}"
        yield error(f"{where}.batch_size", message, f"Set 1 to {max_rows}.")
    inputs = {tensor.name: tensor for tensor in config.input}
    for name in sorted(sample.inputs):
        loc = f"{where}.inputs[{name}]"
        yield from _input(sample.inputs[name], name, loc, context)
        if inputs and name in inputs:
            yield from _mismatch(sample.inputs[name], inputs[name], loc)
        elif inputs and name not in {tensor.name for tensor in config.sequence_batching.control_input}:
            message = f"the model has no input {name!r}, but Triton passes it to the model anyway"
            yield warning(loc, message, f"Use the model's inputs: {', '.join(inputs)}.")
    for name, tensor in inputs.items():
        if name not in sample.inputs and not tensor.optional:
            message = f"sample {sample.name!r} lacks the input {name!r}"
            yield error(f"{where}.inputs", message, "Add every input that is not optional.")


def _input(data: Message, name: str, where: str, context: RuleContext) -> Problems:
    source = data.WhichOneof("input_data_type")
    if source is None:
        yield error(where, f"{name!r} has no data", "Set zero_data: true, random_data: true or input_data_file.")
    if any(dim < 0 for dim in data.dims):
        message = f"expected a size for every dim of {name!r}, got {list(data.dims)}"
        yield error(f"{where}.dims", message, "Set every dim.")
    elif source == "input_data_file" and context.folder is not None:
        yield from _file(data, f"{where}.input_data_file", context)


def _file(data: Message, where: str, context: RuleContext) -> Problems:
    assert context.folder is not None
    folder = context.folder / _FOLDER
    missing = list(missing_file(context.folder, folder, data.input_data_file, where, "warm-up data"))
    yield from missing
    if missing:
        return
    path, count, data_type = folder / data.input_data_file, math.prod(data.dims), enum_name(data, "data_type")
    yield from short_file(path, data_size(data_type, count), where)
    if data_type == "TYPE_STRING" and (actual := count_strings(path)) != count:
        content = "an incomplete element" if actual is None else f"{actual}"
        message = f"expected {count} elements for the tensor, got {content} in {path.name}"
        yield error(where, message, "Write each element as its length (four bytes, little-endian), then its bytes.")


def _mismatch(data: Message, tensor: Message, where: str) -> Problems:
    expected, dims = list(tensor.dims), list(data.dims)
    if enum_name(tensor, "data_type") != "TYPE_INVALID" and data.data_type != tensor.data_type:
        message = (
            f"expected the model's {enum_name(tensor, 'data_type')} for {tensor.name!r},"
            f" got {enum_name(data, 'data_type')}"
        )
        yield error(f"{where}.data_type", message, "Use the data type of the input.")
    if expected and (len(dims) != len(expected) or any(b not in (VARIABLE_DIM, a) for a, b in zip(dims, expected))):
        message = f"expected the model's dims {expected} for {tensor.name!r}, got {dims}"
        yield error(f"{where}.dims", message, "Use the dims of the input, without the batch dimension.")
