"""Encoding of responses over HTTP: from output arrays to a body, as JSON and raw tensors.

Large JSON is encoded in chunks: no chunk holds the interpreter's lock for more than a few milliseconds, and a response
that is sent while it is encoded is never in memory as a whole.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..runtime_api import TensorSpec
from .binary_data import Chunk
from .json_codec import write_json
from .json_tensors import encode_tensor
from .parsed_request import ParsedRequest
from .raw_tensors import raw_view

LARGE_OUTPUT_BYTES = 1 << 18
"""From this size of the outputs on, in bytes as raw tensors, JSON is encoded in chunks."""
CHUNK_ELEMENTS, CHUNK_OBJECTS = 1 << 15, 1 << 12
"""Maximum number of elements in a chunk, for numbers and for BYTES."""
_Tensor = tuple[dict[str, Any], TensorSpec, np.ndarray | None]


@dataclass(frozen=True)
class EncodedResponse:
    """The body of a response."""

    chunks: Iterable[Chunk]
    """The body in chunks. Large JSON is encoded during the iteration."""
    size: int | None
    """Size of the body in bytes; None before large JSON is encoded."""
    json_length: int | None = None
    """Length of the JSON that precedes raw tensors, in bytes; None if the whole body is JSON."""

    @classmethod
    def of(cls, *chunks: Chunk, json_length: int | None = None) -> EncodedResponse:
        """A response that is encoded already."""
        return cls(chunks, sum(map(len, chunks)), json_length)


def encode_response(
    model_name: str, model_version: str, request: ParsedRequest, outputs: Mapping[str, np.ndarray]
) -> EncodedResponse:
    """The response to `request`. From `LARGE_OUTPUT_BYTES` on, its JSON is encoded as it is iterated over."""
    if not request.id and all(each.binary and each.place is None for each in request.outputs):
        return _encode_raw(model_name, model_version, request, outputs)
    document: dict[str, Any] = {"id": request.id} if request.id else {}
    document |= {"model_name": model_name, "model_version": model_version}
    as_json = [outputs[each.name] for each in request.outputs if not each.binary and each.place is None]
    if payload_bytes(as_json) > LARGE_OUTPUT_BYTES:
        return _encode_lazily(document, request, outputs)
    tensors, raw_tensors = [], []
    for requested in request.outputs:
        spec, array = requested.spec, outputs[requested.name]
        if requested.place is not None:
            tensors.append(_metadata(spec, array))
            continue
        if not requested.binary:
            tensors.append(encode_tensor(spec, array))
            continue
        raw = raw_view(spec, array)
        raw_tensors.append(raw)
        tensors.append(_raw_metadata(spec, array, raw))
    document["outputs"] = tensors
    text = write_json(document)
    return EncodedResponse.of(text, *raw_tensors, json_length=len(text) if any(map(len, raw_tensors)) else None)


def _encode_raw(
    model_name: str, model_version: str, request: ParsedRequest, outputs: Mapping[str, np.ndarray]
) -> EncodedResponse:
    """The response to `request`, whose outputs are all raw tensors."""
    tensors, raw_tensors, has_data = [], [], False
    for requested in request.outputs:
        spec, array = requested.spec, outputs[requested.name]
        raw = raw_view(spec, array)
        size = len(raw)
        has_data |= size > 0
        raw_tensors.append(raw)
        tensors.append((spec.name, spec.dtype.name, array.shape, size))
    text = _raw_document(model_name, model_version, tuple(tensors))
    return EncodedResponse.of(text, *raw_tensors, json_length=len(text) if has_data else None)


@functools.lru_cache(maxsize=256)
def _raw_document(
    model_name: str, model_version: str, tensors: tuple[tuple[str, str, tuple[int, ...], int], ...]
) -> bytes:
    """The JSON of a response without an id and with raw tensors, given by name, datatype, shape and size in bytes. Most
    responses of a model have the same."""
    outputs = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
        for name, datatype, shape, size in tensors
    ]
    return write_json({"model_name": model_name, "model_version": model_version, "outputs": outputs})


def payload_bytes(arrays: Iterable[np.ndarray]) -> int:
    """The size of `arrays` as raw tensors, in bytes."""
    return sum(_payload_bytes(array) for array in arrays)


def _payload_bytes(array: np.ndarray) -> int:
    if array.dtype != object:
        return array.nbytes
    return 4 * array.size + sum(map(len, array.ravel().tolist()))


def _encode_lazily(
    document: dict[str, Any], request: ParsedRequest, outputs: Mapping[str, np.ndarray]
) -> EncodedResponse:
    tensors: list[_Tensor] = []
    raw_tensors: list[Chunk] = []
    for requested in request.outputs:
        spec, array = requested.spec, outputs[requested.name]
        if requested.place is not None:
            tensors.append((_metadata(spec, array), spec, None))
        elif requested.binary:
            raw_tensors.append(raw_view(spec, array))
            tensors.append((_raw_metadata(spec, array, raw_tensors[-1]), spec, None))
        else:
            tensors.append((_metadata(spec, array), spec, array))
    chunks = stream_document(document, tensors)
    if not any(map(len, raw_tensors)):  # as in Triton, the header is that of raw tensors with data
        return EncodedResponse(chunks, None)
    text = list(chunks)  # its length is sent ahead of it, in a header
    return EncodedResponse.of(*text, *raw_tensors, json_length=sum(map(len, text)))


def _metadata(spec: TensorSpec, array: np.ndarray) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.dtype.name, "shape": array.shape}


def _raw_metadata(spec: TensorSpec, array: np.ndarray, raw: Chunk) -> dict[str, Any]:
    return {**_metadata(spec, array), "parameters": {"binary_data_size": len(raw)}}


def stream_document(document: Mapping[str, Any], tensors: list[_Tensor]) -> Iterator[bytes]:
    """The JSON object `document` with ``outputs``, in chunks. Each tensor is its metadata, and the array of its
    elements, or None for a tensor without data in the JSON."""
    text = write_json(document)[:-1] + b',"outputs":['
    for index, (metadata, spec, array) in enumerate(tensors):
        text += b"," if index else b""
        if array is None:
            text += write_json(metadata)
            continue
        as_base64 = array.dtype == object and not all(map(_is_text, array.ravel()))
        parameters = {"parameters": {"content_encoding": "base64"}} if as_base64 else {}
        yield text + write_json({**metadata, **parameters})[:-1] + b',"data":['
        yield from _elements(spec, array, as_base64)
        text = b"]}"
    yield text + b"]}"


def _elements(spec: TensorSpec, array: np.ndarray, as_base64: bool) -> Iterator[bytes]:
    """The elements in chunks, without the brackets around them."""
    flat = array.reshape(-1)
    step = CHUNK_OBJECTS if array.dtype == object else CHUNK_ELEMENTS
    for start in range(0, flat.size, step):
        chunk = flat[start : start + step]
        if as_base64:
            data: Any = [base64.b64encode(_octets(each)).decode() for each in chunk]
        else:
            data = encode_tensor(spec, chunk)["data"]
        yield (b"," if start else b"") + write_json(data)[1:-1]


def _is_text(element: object) -> bool:
    if not isinstance(element, bytes) or element.isascii():
        return True
    try:
        element.decode()
    except UnicodeDecodeError:
        return False
    return True


def _octets(element: object) -> bytes:
    return element if isinstance(element, bytes) else str(element).encode()
