"""A request for a model that nobody described further: its first warm-up sample where there is one, else zeros."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .pbtxt import Message, ModelConfig, enum_name

if TYPE_CHECKING:
    from ..backend.interface.interface import TensorSpec
    from ..tensor_input import Array


def sample_request(config: ModelConfig, inputs: Sequence[TensorSpec], folder: Path) -> dict[str, Array]:
    """Arrays for one request, with a batch dimension of 1 where the model batches.

    `inputs` are as the server tells them. A size that may be any is 1, and a text is empty. Optional inputs are left
    out where others are left; the model's `folder` has the files of its warm-up.
    """
    warm = _warm(config)
    return {spec.name: _array(spec, warm.get(spec.name), config.max_batch_size > 0, folder) for spec in _needed(inputs)}


def describe_sample(config: ModelConfig, inputs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> str:
    """What `sample_request` made, for a message: ``x FP32 [1, 3] of zeros``."""
    warm, made = _warm(config), []
    for spec in _needed(inputs):
        tensor = warm.get(spec.name)
        content = "empty text" if spec.dtype.name == "BYTES" else "zeros"
        if tensor is not None and tensor.random_data:
            content = "random values"
        elif tensor is not None and tensor.input_data_file:
            content = f"what warmup/{tensor.input_data_file} holds"
        made.append(f"{spec.name} {spec.dtype.name} {list(arrays[spec.name].shape)} of {content}")
    return ", ".join(made)


def _needed(inputs: Sequence[TensorSpec]) -> list[TensorSpec]:
    return [spec for spec in inputs if not spec.optional] or list(inputs)


def _warm(config: ModelConfig) -> dict[str, Message]:
    return {name: tensor for each in config.model_warmup[:1] for name, tensor in each.inputs.items()}


def sequence_id(config: ModelConfig) -> int | str:
    """An id for a sequence of one request, of the type that the model wants; 0 where it serves no sequences."""
    if not config.HasField("sequence_batching"):
        return 0
    controls = [control for each in config.sequence_batching.control_input for control in each.control]
    return "1" if any(enum_name(control, "data_type") == "TYPE_STRING" for control in controls) else 1


def _array(spec: TensorSpec, warm: Message | None, batches: bool, folder: Path) -> Array:
    import numpy as np

    dims = tuple(warm.dims) if warm is not None else tuple(max(size, 1) for size in spec.dims)
    shape = ((1,) if batches else ()) + dims
    if warm is not None and warm.random_data:
        return _random(spec.dtype.name, spec.dtype.numpy, shape)
    file = folder / "warmup" / warm.input_data_file if warm is not None and warm.input_data_file else None
    if spec.dtype.name == "BYTES":
        if file is None:
            return np.full(shape, b"", dtype=object)
        from tritonclient.utils import deserialize_bytes_tensor

        texts: Array = deserialize_bytes_tensor(file.read_bytes())
        return texts[: math.prod(dims)].reshape(shape)
    if spec.dtype.name == "BF16":  # the upper halves of float32, which the client takes
        halves = np.zeros(dims, np.uint16) if file is None else np.fromfile(file, np.uint16, math.prod(dims))
        return (halves.astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if file is None:
        return np.zeros(shape, spec.dtype.numpy)
    return np.fromfile(file, dtype=spec.dtype.numpy, count=math.prod(dims)).reshape(shape)


def _random(datatype: str, dtype: Any, shape: tuple[int, ...]) -> Array:
    """The same values in each run, such as a model may well get: fractions, small numbers, short texts."""
    import numpy as np

    source = np.random.default_rng(0)
    if datatype == "BYTES":
        texts = np.empty(shape, dtype=object)
        texts.ravel()[:] = [bytes(source.integers(ord("a"), ord("z") + 1, 8, np.uint8)) for _ in range(texts.size)]
        return texts
    if datatype in ("FP16", "BF16", "FP32", "FP64"):
        return source.random(shape).astype(np.float32 if datatype == "BF16" else dtype)
    return source.integers(0, 2 if datatype == "BOOL" else 100, shape).astype(dtype)
