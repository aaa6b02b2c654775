"""Inputs and outputs: names, data types, dims, reshapes, label files, and what a batch adds to them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..pbtxt import Message, ModelConfig, enum_name
from .model_folder import missing_file
from .rule import Problems, RuleContext, error

VARIABLE_DIM = -1
FOR_TENSORRT = ("is_shape_tensor", "is_non_linear_format_io")
BATCH_TYPES = ("TYPE_INT32", "TYPE_FP32")


def check_tensors(config: ModelConfig, context: RuleContext) -> Problems:
    for side in ("input", "output"):
        seen: set[str] = set()
        for i, tensor in enumerate(getattr(config, side)):
            where = f"{side}[{i}]"
            yield from _tensor(tensor, where, config, context)
            if tensor.name and tensor.name in seen:
                # Triton counts both as required, and no request can give one name twice
                yield error(f"{where}.name", f"two {side}s are called {tensor.name!r}", "Give each its own name.")
            seen.add(tensor.name)
    for i, tensor in enumerate(config.output):
        if tensor.label_filename:
            yield from _labels(tensor, f"output[{i}].label_filename", context)
    yield from _batch_inputs(config)
    yield from _batch_outputs(config)


def _tensor(tensor: Message, where: str, config: ModelConfig, context: RuleContext) -> Problems:
    data_type = enum_name(tensor, "data_type")
    if not tensor.name:
        yield error(f"{where}.name", "the tensor has no name", "Name it as the module does.")
    if data_type.isdigit() or (data_type == "TYPE_INVALID" and not context.auto_complete):
        said = f"{tensor.name!r} has the data type {data_type}"
        yield error(f"{where}.data_type", said, "Set one of Triton's data types, such as TYPE_FP32.")
    if not tensor.dims and not context.auto_complete:
        yield error(f"{where}.dims", f"{tensor.name!r} has no dims", "List them; a scalar is [ 1 ].")
    wrong = [dim for dim in tensor.dims if dim < 1 and dim != VARIABLE_DIM]
    if wrong:
        yield error(f"{where}.dims", f"{tensor.name!r} has the dim {wrong[0]}", "Use sizes from 1, or -1 for any size.")
    if tensor.HasField("reshape"):
        yield from _reshape(tensor, f"{where}.reshape", config.max_batch_size)
    if "format" in tensor.DESCRIPTOR.fields_by_name and tensor.format and len(tensor.dims) != 3:
        said = f"{tensor.name!r} is {enum_name(tensor, 'format')} with {len(tensor.dims)} dims"
        yield error(f"{where}.format", said, "Give it three dims (without the batch), or leave format out.")
    for name in FOR_TENSORRT:
        if getattr(tensor, name) and config.platform != "tensorrt_plan" and config.backend != "tensorrt":
            yield error(f"{where}.{name}", f"{tensor.name!r} has {name}, which only TensorRT knows", "Leave it out.")
        elif name == "is_non_linear_format_io" and tensor.is_non_linear_format_io and len(tensor.dims) != 3:
            yield error(f"{where}.{name}", f"{tensor.name!r} needs three dims", "Give it three dims, or leave it out.")


def _reshape(tensor: Message, where: str, max_batch_size: int) -> Problems:
    dims, shape = list(tensor.dims), list(tensor.reshape.shape)
    if not shape and max_batch_size == 0:
        said = f"{tensor.name!r} is reshaped to a scalar, and the model does not batch"
        yield error(where, said, "Give the reshape a shape, or set max_batch_size: scalars exist in batches only.")
    elif any(dim < 1 and dim != VARIABLE_DIM for dim in shape):
        yield error(where, f"{tensor.name!r} is reshaped to {shape}", "Use sizes from 1, or -1 for any size.")
    elif _runs(dims) != _runs(shape):
        yield error(
            where,
            f"{tensor.name!r} cannot be reshaped from {dims} to {shape}",
            "Keep the number of elements, also between one -1 and the next.",
        )


def _runs(dims: Sequence[int]) -> list[int]:
    """The number of elements before, between and after the variable dimensions; they hold from one shape to another."""
    runs, start = [], 0
    for i, dim in enumerate((*dims, VARIABLE_DIM)):
        if dim == VARIABLE_DIM:
            runs.append(math.prod(dims[start:i]))
            start = i + 1
    return runs


def _labels(tensor: Message, where: str, context: RuleContext) -> Problems:
    if context.folder is None:
        return
    # 2.51 reads a label file anywhere; since the releases of 2026 it has to lie in the model's folder
    yield from missing_file(context.folder, context.folder, tensor.label_filename, where, "label file")


def _batch_inputs(config: ModelConfig) -> Problems:
    inputs = [tensor.name for tensor in config.input]
    for i, added in enumerate(config.batch_input):
        where = f"batch_input[{i}]"
        yield from _sources(added, where, inputs)
        if enum_name(added, "data_type") not in BATCH_TYPES:
            said = f"a batch input is {enum_name(added, 'data_type')}"
            yield error(f"{where}.data_type", said, f"Set {' or '.join(BATCH_TYPES)}.")


def _batch_outputs(config: ModelConfig) -> Problems:
    inputs, outputs = [t.name for t in config.input], [t.name for t in config.output]
    for i, added in enumerate(config.batch_output):
        where = f"batch_output[{i}]"
        if enum_name(added, "kind") != "BATCH_SCATTER_WITH_INPUT_SHAPE":
            said = f"a batch output is of kind {enum_name(added, 'kind')}"
            yield error(f"{where}.kind", said, "Set BATCH_SCATTER_WITH_INPUT_SHAPE.")
        yield from _sources(added, where, inputs)
        targets = list(added.target_name)
        for name in dict.fromkeys(targets):
            if name not in outputs:
                yield error(f"{where}.target_name", f"there is no output {name!r}", "Name an output of the model.")
            if targets.count(name) > 1:
                yield error(f"{where}.target_name", f"output {name!r} is named twice", "Name each output once.")


def _sources(added: Message, where: str, inputs: list[str]) -> Problems:
    if len(added.source_input) != 1:
        said = f"{enum_name(added, 'kind')} takes one source input, not {len(added.source_input)}"
        yield error(f"{where}.source_input", said, "Name one input of the model.")
    for name in added.source_input:
        if name not in inputs:
            yield error(f"{where}.source_input", f"there is no input {name!r}", "Name an input of the model.")
