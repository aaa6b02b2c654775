"""The tensors of a gRPC request and of its response, between the protocol's messages and NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from ..request_errors import input_error
from ..runtime_api import Interface, TensorSpec, object_array
from .binary_data import raw
from .raw_tensors import MAX_RANK, check_heads, checked_dtype, checked_shape, from_raw, to_raw

_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_RAW_OUTPUT = bytes([pb.ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number << 3 | 2])
_SHARED_MEMORY = "shared_memory_region"


def inputs_of(interface: Interface, request: Any, thorough: bool = False) -> dict[str, np.ndarray]:
    """The input arrays of a ModelInferRequest; numbers in ``raw_input_contents`` are views of the message.

    With `thorough`, the headers of all tensors are checked before any data are. Raises RequestError with status 400
    that names the input and the problem.
    """
    specs = {spec.name: spec for spec in interface.inputs}
    tensors, contents = request.inputs, request.raw_input_contents[:]  # else each look at one copies it
    if contents and len(contents) != len(tensors):
        raise input_error(f"raw_input_contents has {len(contents)} elements, but there are {len(tensors)} inputs")
    if thorough:
        heads = {tensor.name: (tensor.datatype, tensor.shape[: MAX_RANK + 1]) for tensor in tensors}
        check_heads(interface, {name: head for name, head in heads.items() if name in specs})
    arrays: dict[str, np.ndarray] = {}
    for index, tensor in enumerate(tensors):
        name = tensor.name
        spec = specs.get(name)
        if spec is None:
            raise input_error(f"there is no input {name[:128]!r}; the inputs are {', '.join(specs)}")
        if name in arrays:
            raise input_error(f"input '{name}' is given twice")
        where = f"input '{name}'"
        if _SHARED_MEMORY in tensor.parameters:
            raise input_error(
                f"{where} lies in shared memory, which this service does not read; send the tensor itself"
            )
        checked_dtype(where, tensor.datatype, spec)
        if not contents:
            arrays[name] = _from_contents(spec, tensor)
            continue
        if tensor.HasField("contents"):
            raise input_error(f"{where} has both contents and raw_input_contents")
        arrays[name] = from_raw(spec, tensor.shape[:], contents[index])
    return arrays


def wanted_of(interface: Interface, request: Any) -> list[TensorSpec]:
    """The outputs that a ModelInferRequest requests, by default all. Raises RequestError with status 400."""
    specs = {spec.name: spec for spec in interface.outputs}
    for output in request.outputs:
        if output.name not in specs:
            raise input_error(f"there is no output {output.name[:128]!r}; the outputs are {', '.join(specs)}")
        if _SHARED_MEMORY in output.parameters:
            raise input_error(f"output '{output.name}' cannot go into shared memory; ask for the tensor itself")
        if output.parameters["classification"].int64_param if "classification" in output.parameters else 0:
            raise input_error(f"output '{output.name}': this service has no classification; ask for the tensor itself")
    return [specs[output.name] for output in request.outputs] or list(specs.values())


def response_of(wanted: list[TensorSpec], outputs: Mapping[str, np.ndarray], **told: str) -> Any:
    """The ModelInferResponse with the `wanted` ones of `outputs` as raw bytes. `told` are its name, version and id."""
    response = pb.ModelInferResponse(**told)
    for spec in wanted:
        array = outputs[spec.name]
        response.outputs.add(name=spec.name, datatype=spec.dtype.name, shape=array.shape)
        response.raw_output_contents.append(to_raw(spec, array))
    return response


def message_of(wanted: list[TensorSpec], outputs: Mapping[str, np.ndarray], **told: str) -> bytes:
    """`response_of` as it is sent, for large outputs: these are copied once instead of three times."""
    head = pb.ModelInferResponse(**told)
    pieces: list[bytes | memoryview] = [b""]
    for spec in wanted:
        array = outputs[spec.name]
        head.outputs.add(name=spec.name, datatype=spec.dtype.name, shape=array.shape)
        piece = raw(spec, array)
        pieces += [_RAW_OUTPUT, _varint(len(piece)), piece]
    pieces[0] = head.SerializeToString()
    return b"".join(pieces)


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _from_contents(spec: TensorSpec, tensor: Any) -> np.ndarray:
    """The array of a tensor whose elements are in ``contents``."""
    where, kind = f"input '{spec.name}'", spec.dtype.name
    shape = checked_shape(where, tensor.shape[:])
    if kind not in _FIELDS:
        raise input_error(f"{where}: contents has no field for {kind}; send it in raw_input_contents")
    field = _FIELDS[kind]
    for other, _ in tensor.contents.ListFields():
        if other.name != field:
            raise input_error(f"{where} ({kind}) has {other.name}; its elements belong into {field}")
    values = getattr(tensor.contents, field)
    count = math.prod(shape)
    if len(values) != count:
        raise input_error(f"{where}: shape {list(shape)} has {count} elements, {field} has {len(values)}")
    if kind == "BYTES":
        return object_array(list(values), shape)
    dtype: np.dtype[Any] = spec.dtype.numpy
    if dtype.itemsize >= 4 or dtype.kind == "b":  # as wide as the field, or a boolean there too
        return np.fromiter(values, dtype=dtype, count=count).reshape(shape)
    array = np.fromiter(values, dtype=np.int64, count=count)
    bounds = np.iinfo(dtype)
    outside = (array < bounds.min) | (array > bounds.max)
    if outside.any():
        raise input_error(f"{where} ({kind}): {array[outside][0]} is outside {bounds.min} to {bounds.max}")
    return array.astype(dtype).reshape(shape)
