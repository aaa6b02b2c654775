"""Rules for inputs and outputs: names, data types, dims, reshapes, label files, and batch inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..pbtxt import Message, ModelConfig, enum_name
from .model_folder import missing_file
from .rule import Problems, RuleContext, error

VARIABLE_DIM = -1
_FOR_TENSORRT = ("is_shape_tensor", "is_non_linear_format_io")
_BATCH_INPUT_TYPES = ("TYPE_INT32", "TYPE_FP32")


def check_tensors(config: ModelConfig, context: RuleContext) -> Problems:
    """Problems of the model's tensors."""
    for side in ("input", "output"):
        seen: set[str] = set()
        for i, tensor in enumerate(getattr(config, side)):
            where = f"{side}[{i}]"
            yield from _tensor(tensor, where, config, context)
            if tensor.name and tensor.name in seen:
                # Triton requires both, and a request cannot have one name twice
                yield error(f"{where}.name", f"two {side}s are named {tensor.name!r}", "Use different names.")
            seen.add(tensor.name)
    for i, tensor in enumerate(config.output):
        if tensor.label_filename:
            yield from _labels(tensor, f"output[{i}].label_filename", context)
    yield from _batch_inputs(config)
    yield from _batch_outputs(config)


def _tensor(tensor: Message, where: str, config: ModelConfig, context: RuleContext) -> Problems:
    data_type = enum_name(tensor, "data_type")
    if not tensor.name:
        yield error(f"{where}.name", "the tensor has no name", "Set the name that the module uses.")
    if data_type.isdigit() or (data_type == "TYPE_INVALID" and not context.auto_complete):
        message = f"{tensor.name!r} cannot have the data type {data_type}"
        yield error(f"{where}.data_type", message, "Set one of Triton's data types, for example TYPE_FP32.")
    if not tensor.dims and not context.auto_complete:
        yield error(f"{where}.dims", f"{tensor.name!r} has no dims", "List them; a scalar is [ 1 ].")
    invalid = [dim for dim in tensor.dims if dim < 1 and dim != VARIABLE_DIM]
    if invalid:
        message = f"{tensor.name!r} cannot have the dim {invalid[0]}"
        yield error(f"{where}.dims", message, "Use sizes from 1, or -1 for any size.")
    if tensor.HasField("reshape"):
        yield from _reshape(tensor, f"{where}.reshape", config.max_batch_size)
    if "format" in tensor.DESCRIPTOR.fields_by_name and tensor.format and len(tensor.dims) != 3:
        message = f"expected 3 dims for {tensor.name!r} ({enum_name(tensor, 'format')}), got {len(tensor.dims)}"
        yield error(f"{where}.format", message, "Set three dims (without the batch dimension), or remove format.")
    for name in _FOR_TENSORRT:
        if getattr(tensor, name) and config.platform != "tensorrt_plan" and config.backend != "tensorrt":
            yield error(f"{where}.{name}", f"{tensor.name!r} has {name}, which only TensorRT supports", "Remove it.")
        elif name == "is_non_linear_format_io" and tensor.is_non_linear_format_io and len(tensor.dims) != 3:
            message = f"expected 3 dims for {tensor.name!r} ({name}), got {len(tensor.dims)}"
            yield error(f"{where}.{name}", message, f"Set three dims, or remove {name}.")


def _reshape(tensor: Message, where: str, max_batch_size: int) -> Problems:
    dims, shape = list(tensor.dims), list(tensor.reshape.shape)
    if not shape and max_batch_size == 0:
        message = f"{tensor.name!r} cannot be reshaped to a scalar: the model does not batch"
        yield error(where, message, "Set the reshape's shape, or max_batch_size: only a batch can have scalars.")
    elif any(dim < 1 and dim != VARIABLE_DIM for dim in shape):
        yield error(where, f"{tensor.name!r} cannot be reshaped to {shape}", "Use sizes from 1, or -1 for any size.")
    elif _runs(dims) != _runs(shape):
        yield error(
            where,
            f"{tensor.name!r} cannot be reshaped from {dims} to {shape}",
            "Keep the number of elements, also between one -1 and the next.",
        )


def _runs(dims: Sequence[int]) -> list[int]:
    """The numbers of elements before, between and after the variable dims, which a reshape must keep."""
    runs, start = [], 0
    for i, dim in enumerate((*dims, VARIABLE_DIM)):
        if dim == VARIABLE_DIM:
            runs.append(math.prod(dims[start:i]))
            start = i + 1
    return runs


def _labels(tensor: Message, where: str, context: RuleContext) -> Problems:
    if context.folder is None:
        return
    # 2.51 reads a label file from anywhere; releases since 2026 require it in the model's directory
    yield from missing_file(context.folder, context.folder, tensor.label_filename, where, "label file")


def _batch_inputs(config: ModelConfig) -> Problems:
    inputs = [tensor.name for tensor in config.input]
    for i, batch_input in enumerate(config.batch_input):
        where = f"batch_input[{i}]"
        yield from _sources(batch_input, where, inputs)
        if enum_name(batch_input, "data_type") not in _BATCH_INPUT_TYPES:
            message = f"a batch input cannot have the data type {enum_name(batch_input, 'data_type')}"
            yield error(f"{where}.data_type", message, f"Set {' or '.join(_BATCH_INPUT_TYPES)}.")


def _batch_outputs(config: ModelConfig) -> Problems:
    inputs, outputs = [t.name for t in config.input], [t.name for t in config.output]
    for i, batch_output in enumerate(config.batch_output):
        where = f"batch_output[{i}]"
        if enum_name(batch_output, "kind") != "BATCH_SCATTER_WITH_INPUT_SHAPE":
            message = f"unknown kind {enum_name(batch_output, 'kind')} of a batch output"
            yield error(f"{where}.kind", message, "Set BATCH_SCATTER_WITH_INPUT_SHAPE.")
        yield from _sources(batch_output, where, inputs)
        targets = list(batch_output.target_name)
        for name in dict.fromkeys(targets):
            if name not in outputs:
                yield error(f"{where}.target_name", f"the model has no output {name!r}", "Name one of its outputs.")
            if targets.count(name) > 1:
                yield error(f"{where}.target_name", f"output {name!r} is named twice", "Name each output once.")


def _sources(batch_tensor: Message, where: str, inputs: list[str]) -> Problems:
    if len(batch_tensor.source_input) != 1:
        kind = enum_name(batch_tensor, "kind")
        message = f"expected one source input for {kind}, got {len(batch_tensor.source_input)}"
        yield error(f"{where}.source_input", message, "Name one input of the model.")
    for name in batch_tensor.source_input:
        if name not in inputs:
            yield error(f"{where}.source_input", f"the model has no input {name!r}", "Name one of its inputs.")
