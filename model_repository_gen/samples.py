"""Sample requests for live validation: a model's first warm-up sample if it has one, else zeros."""

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
    """Arrays for one request, with a batch dimension of 1 if the model batches.

    `inputs` are those that the server reports; optional ones are omitted unless all inputs are optional. A variable
    dim is 1, and a string is empty. The model's `folder` contains the files of its warm-up.
    """
    warmup, batches = _first_warmup(config), config.max_batch_size > 0
    return {spec.name: _array(spec, warmup.get(spec.name), batches, folder) for spec in _required(inputs)}


def describe_sample(config: ModelConfig, inputs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> str:
    """The arrays of `sample_request` as text for a message: ``x FP32 [1, 3] of zeros``."""
    warmup, descriptions = _first_warmup(config), []
    for spec in _required(inputs):
        tensor = warmup.get(spec.name)
        content = "empty strings" if spec.dtype.name == "BYTES" else "zeros"
        if tensor is not None and tensor.random_data:
            content = "random values"
        elif tensor is not None and tensor.input_data_file:
            content = f"data from warmup/{tensor.input_data_file}"
        descriptions.append(f"{spec.name} {spec.dtype.name} {list(arrays[spec.name].shape)} of {content}")
    return ", ".join(descriptions)


def _required(inputs: Sequence[TensorSpec]) -> list[TensorSpec]:
    return [spec for spec in inputs if not spec.optional] or list(inputs)


def _first_warmup(config: ModelConfig) -> dict[str, Message]:
    return {name: tensor for each in config.model_warmup[:1] for name, tensor in each.inputs.items()}


def sequence_id(config: ModelConfig) -> int | str:
    """A correlation id of the model's type for a sequence of one request; 0 if the model has no sequence batching."""
    if not config.HasField("sequence_batching"):
        return 0
    controls = [control for each in config.sequence_batching.control_input for control in each.control]
    return "1" if any(enum_name(control, "data_type") == "TYPE_STRING" for control in controls) else 1


def _array(spec: TensorSpec, warmup: Message | None, batches: bool, folder: Path) -> Array:
    import numpy as np

    dims = tuple(warmup.dims) if warmup is not None else tuple(max(size, 1) for size in spec.dims)
    shape = ((1,) if batches else ()) + dims
    if warmup is not None and warmup.random_data:
        return _random(spec.dtype.name, spec.dtype.numpy, shape)
    file = folder / "warmup" / warmup.input_data_file if warmup is not None and warmup.input_data_file else None
    if spec.dtype.name == "BYTES":
        if file is None:
            return np.full(shape, b"", dtype=object)
        from tritonclient.utils import deserialize_bytes_tensor

        strings: Array = deserialize_bytes_tensor(file.read_bytes())
        return strings[: math.prod(dims)].reshape(shape)
    if spec.dtype.name == "BF16":  # the client expects float32, of which a BF16 is the upper half
        halves = np.zeros(dims, np.uint16) if file is None else np.fromfile(file, np.uint16, math.prod(dims))
        return (halves.astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if file is None:
        return np.zeros(shape, spec.dtype.numpy)
    return np.fromfile(file, dtype=spec.dtype.numpy, count=math.prod(dims)).reshape(shape)


def _random(datatype: str, dtype: Any, shape: tuple[int, ...]) -> Array:
    """Plausible values, the same in each run: fractions, small integers, short strings."""
    import numpy as np

    generator = np.random.default_rng(0)
    if datatype == "BYTES":
        strings = np.empty(shape, dtype=object)
        strings.ravel()[:] = [
            bytes(generator.integers(ord("a"), ord("z") + 1, 8, np.uint8)) for _ in range(strings.size)
        ]
        return strings
    if datatype in ("FP16", "BF16", "FP32", "FP64"):
        return generator.random(shape).astype(np.float32 if datatype == "BF16" else dtype)
    return generator.integers(0, 2 if datatype == "BOOL" else 100, shape).astype(dtype)
