"""Inputs, outputs, and the tensors that Triton makes for ragged batches."""

from __future__ import annotations

from collections.abc import Iterable

from ...spec.model_tensors import BatchInput, BatchOutput, ModelInput, ModelOutput, TensorFormat
from ..pbtxt import Message, ModelConfig, model_config_schema

_FORMATS = {TensorFormat.Linear: "FORMAT_NONE", TensorFormat.NHWC: "FORMAT_NHWC", TensorFormat.NCHW: "FORMAT_NCHW"}


def add_tensors(config: ModelConfig, inputs: Iterable[ModelInput], outputs: Iterable[ModelOutput]) -> None:
    """Describe the inputs and outputs."""
    for given in inputs:
        tensor = config.input.add(name=given.name, data_type=given.data_type.triton, dims=given.dims)
        if given.format is not None:
            tensor.format = model_config_schema().ModelInput.Format.Value(_FORMATS[given.format])
        tensor.optional = given.optional
        tensor.allow_ragged_batch = given.allow_ragged_batch
        tensor.is_shape_tensor = given.is_shape_tensor
        _reshape(tensor, given.reshape)
    for made in outputs:
        tensor = config.output.add(name=made.name, data_type=made.data_type.triton, dims=made.dims)
        if made.label_filename is not None:
            tensor.label_filename = made.label_filename.name
        tensor.is_shape_tensor = made.is_shape_tensor
        _reshape(tensor, made.reshape)


def _reshape(tensor: Message, shape: tuple[int, ...] | None) -> None:
    if shape is not None:
        tensor.reshape.SetInParent()  # a reshape to no dimensions says something, too
        tensor.reshape.shape.extend(shape)


def add_batch_tensors(config: ModelConfig, inputs: Iterable[BatchInput], outputs: Iterable[BatchOutput]) -> None:
    """Describe what goes along with ragged batches."""
    for given in inputs:
        config.batch_input.add(
            kind=given.kind.value,
            target_name=given.target_name,
            data_type=given.data_type.triton,
            source_input=given.source_input,
        )
    for made in outputs:
        config.batch_output.add(kind=made.kind.value, target_name=made.target_name, source_input=made.source_input)
