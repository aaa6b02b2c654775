"""Outputs as classes: the indices of the highest values of each row, with their values and labels.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..request_errors import input_error, response_too_large
from ..runtime_api import BYTES, TensorSpec, object_array
from .parsed_request import OutputRequest, ParsedRequest

Labels = Mapping[str, Sequence[bytes]]
"""The labels of the classes, by the name of the output."""
MAX_CLASSES = 1 << 20
"""Maximum number of classes of one output: each is a Python object."""
_NUMBERS = frozenset(("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP32", "FP64"))
_CHUNK = 1 << 20  # elements that are sorted at a time, which bounds the memory for keys and indices


def classified(
    request: ParsedRequest, outputs: Mapping[str, np.ndarray], *, batches: bool, labels: Labels, max_bytes: int
) -> tuple[ParsedRequest, dict[str, np.ndarray]]:
    """`request` and `outputs` with BYTES tensors in place of the outputs that are requested as classes.

    With `batches`, the first dimension of an output is the batch: each row has classes of its own. Raises RequestError:
    400 for a data type that has no classes, or more than `MAX_CLASSES` of them; 500 for more than `max_bytes` bytes.
    """
    requests: list[OutputRequest] = []
    arrays = dict(outputs)
    left = max_bytes
    for each in request.outputs:
        if each.classes:
            found = _classes(each, outputs[each.name], batches, labels.get(each.name, ()), left)
            left -= sum(map(len, found.flat))
            arrays[each.name] = found
            each = replace(each, spec=TensorSpec(each.name, BYTES, (-1,)))  # noqa: PLW2901
        requests.append(each)
    return replace(request, outputs=requests), arrays


def _classes(
    request: OutputRequest, array: np.ndarray, batches: bool, labels: Sequence[bytes], max_bytes: int
) -> np.ndarray:
    name, kind = request.name, request.spec.dtype.name
    if kind not in _NUMBERS:
        raise input_error(
            f"class result not available for output due to unsupported type '{kind}'; request output '{name}' without"
            " classification"
        )
    has_rows = batches and array.ndim > 0 and array.shape[0] > 0
    rows = array.reshape(array.shape[0], -1) if has_rows else array.reshape(1, -1)
    count = min(request.classes, rows.shape[1])
    if len(rows) * count > MAX_CLASSES:
        raise input_error(
            f"output '{name}': {len(rows) * count} classes are requested, and at most {MAX_CLASSES} are returned"
        )
    texts: list[bytes] = []
    size = 0
    for text in _texts(rows, count, labels):
        size += 4 + len(text)
        if size > max_bytes:
            raise response_too_large(size, max_bytes)
        texts.append(text)
    return object_array(texts, (len(rows), count) if has_rows else (count,))


def _texts(rows: np.ndarray, count: int, labels: Sequence[bytes]) -> Iterator[bytes]:
    """The classes of all rows, as Triton writes them: ``value:index``, and ``:label`` if the class has one."""
    pattern = b"%f:%d" if rows.dtype.kind == "f" else b"%d:%d"
    step = max(1, _CHUNK // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        values, indices = _best(rows[start : start + step], count)
        for value, index in zip(values.ravel().tolist(), indices.ravel().tolist()):
            text = pattern % (value, index)
            if value != value and math.copysign(1, value) < 0:
                text = b"-" + text  # as in C, unlike in Python
            label = labels[index] if index < len(labels) else b""
            yield text + b":" + label if label else text


def _best(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` highest values of each row in descending order, and their indices. Equal values are in the order of
    their indices, and NaN comes last."""
    values = rows[:, :0]
    indices = np.zeros(values.shape, np.int64)
    for start in range(0, rows.shape[1], _CHUNK):
        part = rows[:, start : start + _CHUNK]
        values = np.concatenate((values, part), axis=1)
        positions = np.broadcast_to(np.arange(start, start + part.shape[1]), part.shape)
        indices = np.concatenate((indices, positions), axis=1)
        keys = -values if values.dtype.kind == "f" else ~values  # unlike -values, ~values never overflows
        order = np.argsort(keys, axis=1, kind="stable")[:, :count]
        values, indices = np.take_along_axis(values, order, axis=1), np.take_along_axis(indices, order, axis=1)
    return values, indices
