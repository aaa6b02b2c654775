"""Shapes of the tensors that steps of an ensemble exchange: batch dimensions, reshapes and scalars, by Triton's rules.

All functions return views; no element is copied.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def dims_match(declared: Sequence[int], sizes: Sequence[int]) -> bool:
    """Whether shapes can be equal, where -1 is any size."""
    return len(declared) == len(sizes) and all(-1 in pair or pair[0] == pair[1] for pair in zip(declared, sizes))


def fit_batch(array: np.ndarray, dims: Sequence[int], *, batched: bool, expects_batch: bool) -> np.ndarray:
    """`array` for a tensor with `dims`, if only one of its source (`batched`) and its receiver has a batch dimension.

    A batch dimension of size 1 is added if the shape equals `dims` without it, and removed if it does not equal `dims`
    with it. Otherwise the shape remains, and the receiver checks it.
    """
    if batched == expects_batch:
        return array
    if expects_batch:
        return array.reshape((1, *array.shape)) if dims_match(dims, array.shape) else array
    if array.shape[:1] == (1,) and not dims_match(dims, array.shape):
        return array.reshape(array.shape[1:])
    return array


def reshape_tensor(array: np.ndarray, dims: Sequence[int], shape: Sequence[int], *, batched: bool) -> np.ndarray:
    """`array`, whose shape matches `dims`, in `shape`; variable sizes keep their order. An array that does not match
    remains as it is."""
    if dims == shape:
        return array
    rows, sizes = (array.shape[:1], array.shape[1:]) if batched else ((), array.shape)
    if not dims_match(dims, sizes):
        return array
    variable = iter([size for declared, size in zip(dims, sizes) if declared == -1])
    return array.reshape((*rows, *(next(variable) if size == -1 else size for size in shape)))
