"""Adds inputs, outputs, and the tensors that Triton creates for ragged batches."""

from __future__ import annotations

from collections.abc import Iterable

from ...spec.model_tensors import BatchInput, BatchOutput, ModelInput, ModelOutput, TensorFormat
from ..pbtxt import Message, ModelConfig, model_config_schema

_FORMATS = {TensorFormat.Linear: "FORMAT_NONE", TensorFormat.NHWC: "FORMAT_NHWC", TensorFormat.NCHW: "FORMAT_NCHW"}


def add_tensors(config: ModelConfig, inputs: Iterable[ModelInput], outputs: Iterable[ModelOutput]) -> None:
    """Add the inputs and outputs."""
    for each in inputs:
        tensor = config.input.add(name=each.name, data_type=each.data_type.triton, dims=each.dims)
        if each.format is not None:
            tensor.format = model_config_schema().ModelInput.Format.Value(_FORMATS[each.format])
        tensor.optional = each.optional
        tensor.allow_ragged_batch = each.allow_ragged_batch
        tensor.is_shape_tensor = each.is_shape_tensor
        _reshape(tensor, each.reshape)
    for output in outputs:
        tensor = config.output.add(name=output.name, data_type=output.data_type.triton, dims=output.dims)
        if output.label_filename is not None:
            tensor.label_filename = output.label_filename.name
        tensor.is_shape_tensor = output.is_shape_tensor
        _reshape(tensor, output.reshape)


def _reshape(tensor: Message, shape: tuple[int, ...] | None) -> None:
    if shape is not None:
        tensor.reshape.SetInParent()  # a reshape to no dimensions is a setting, too
        tensor.reshape.shape.extend(shape)


def add_batch_tensors(config: ModelConfig, inputs: Iterable[BatchInput], outputs: Iterable[BatchOutput]) -> None:
    """Add the batch inputs and outputs, which describe ragged batches."""
    for each in inputs:
        config.batch_input.add(
            kind=each.kind.value,
            target_name=each.target_name,
            data_type=each.data_type.triton,
            source_input=each.source_input,
        )
    for output in outputs:
        config.batch_output.add(
            kind=output.kind.value, target_name=output.target_name, source_input=output.source_input
        )
