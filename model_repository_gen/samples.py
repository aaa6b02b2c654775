"""A request for a model that nobody described further: its warm-up data where there is some, else zeros."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from portalis.model_repository_gen.pbtxt import Message, ModelConfig

if TYPE_CHECKING:
    from portalis.backend.interface import TensorSpec
    from portalis.tensors import Array


def sample(config: ModelConfig, inputs: Sequence[TensorSpec], folder: Path) -> dict[str, Array]:
    """Arrays for one request, with a batch dimension of 1 where the model batches.

    `inputs` are as the server tells them. A size that may be any is 1, and a text is empty. Optional inputs are left
    out where others are left; the model's `folder` has the files of its warm-up.
    """
    needed = [spec for spec in inputs if not spec.optional] or list(inputs)
    warm = {name: tensor for each in config.model_warmup[:1] for name, tensor in each.inputs.items()}
    return {spec.name: _array(spec, warm.get(spec.name), config.max_batch_size > 0, folder) for spec in needed}


def _array(spec: TensorSpec, warm: Message | None, batches: bool, folder: Path) -> Array:
    import numpy as np

    dims = tuple(warm.dims) if warm is not None else tuple(max(size, 1) for size in spec.dims)
    shape = ((1,) if batches else ()) + dims
    if spec.dtype.name == "BYTES":
        return np.full(shape, b"", dtype=object)
    # the client takes BF16 as float32
    dtype = np.dtype(np.float32) if spec.dtype.name == "BF16" else spec.dtype.numpy
    if warm is None or not warm.input_data_file or spec.dtype.name == "BF16":
        return np.zeros(shape, dtype)
    return np.fromfile(folder / "warmup" / warm.input_data_file, dtype=dtype, count=int(np.prod(dims))).reshape(shape)
