"""The inputs and outputs of gRPC inference requests, between protobuf messages and NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..request_errors import RequestError, input_error
from ..runtime_api import Interface, TensorSpec, object_array
from ..sequence_step import NO_SEQUENCE
from .core_faults import described
from .parsed_request import OutputRequest, ParsedRequest, RegionInput, RequestInputs
from .protobuf_faults import parameters_fault, protobuf_fault
from .protobuf_messages import pb
from .raw_tensors import from_raw, raw_view, to_raw
from .region_parameters import both_in_region_and, message_region_slice
from .request import SMALL_BYTES, guest_timeout_s
from .requested_outputs import RequestedOutputs
from .sequence_parameters import message_sequence_step
from .tensor_checks import (
    MAX_RANK,
    check_metadata,
    checked_dtype,
    checked_shape,
    unexpected_input,
    unknown_output,
)

CONTENTS_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of ``contents`` for each data type. FP16 and BF16 have none: they are sent in ``raw_input_contents``."""
_RAW_OUTPUT = bytes([pb.ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number << 3 | 2])
_TIMEOUT = "timeout"
_CLASSIFICATION = "classification"


def parse_infer_request(
    interface: Interface,
    message: Any,
    timeout_s: float | None,
    *,
    inputs: RequestInputs | None = None,
    thorough: bool = False,
) -> ParsedRequest:
    """The request in `message`, a ModelInferRequest, whose `inputs` may be decoded already.

    `timeout_s` is the time left for the call. Raises RequestError with status 400.
    """
    try:
        return _parsed(interface, message, timeout_s, inputs, thorough)
    except RequestError as error:
        # the message of a large request has no inputs: they are decoded elsewhere
        fault = protobuf_fault(interface, message) if inputs is None else parameters_fault(message.parameters)
        raise described(error, fault) from None


def _parsed(
    interface: Interface, message: Any, timeout_s: float | None, inputs: RequestInputs | None, thorough: bool
) -> ParsedRequest:
    parameters = message.parameters
    if parameters and (fault := parameters_fault(parameters)):
        raise input_error(fault)
    if inputs is None:
        inputs = parse_inputs_message(interface, message, thorough=thorough)
    outputs = requested_outputs(interface, message)
    return ParsedRequest(
        message.id,
        inputs.arrays,
        outputs,
        _timeout_s(parameters, timeout_s),
        _guest_timeout_s(parameters),
        region_inputs=inputs.in_regions,
        sequence=message_sequence_step(parameters) if parameters else NO_SEQUENCE,
    )


def parse_inputs_message(interface: Interface, message: Any, *, thorough: bool = False) -> RequestInputs:
    """The inputs of a ModelInferRequest; numbers in ``raw_input_contents`` are views of the message.

    With `thorough`, all data types and shapes are checked before any data is. Raises RequestError with status 400 that
    names the input and the problem.
    """
    specs = {spec.name: spec for spec in interface.inputs}
    tensors, contents = message.inputs, message.raw_input_contents[:]  # each access to an element would copy it
    places = {tensor.name: place for tensor in tensors if (place := message_region_slice(tensor)) is not None}
    if contents and len(contents) != len(tensors) - len(places):
        raise input_error(
            f"raw_input_contents has {len(contents)} elements, but the request has {len(tensors) - len(places)} inputs"
            + " that are not in shared memory" * bool(places)
        )
    if thorough or sum(place.size for place in places.values()) > SMALL_BYTES:
        declared = {tensor.name: (tensor.datatype, tensor.shape[: MAX_RANK + 1]) for tensor in tensors}
        check_metadata(interface, {name: each for name, each in declared.items() if name in specs})
    arrays: dict[str, np.ndarray] = {}
    in_regions: dict[str, RegionInput] = {}
    rest = iter(contents)
    for tensor in tensors:
        name = tensor.name
        spec = specs.get(name)
        if spec is None or name in arrays or name in in_regions:
            raise unexpected_input(name, specs)
        label = f"input '{name}'"
        checked_dtype(label, tensor.datatype, spec)
        if name in places:
            if tensor.HasField("contents"):
                raise _contents_and_region(name, message.model_name)
            in_regions[name] = RegionInput(spec, checked_shape(label, tensor.shape[:]), places[name])
            continue
        if not contents:
            arrays[name] = _from_contents(spec, tensor)
            continue
        if tensor.HasField("contents"):
            raise input_error(f"{label} has both contents and raw_input_contents")
        arrays[name] = from_raw(spec, tensor.shape[:], next(rest))
    return RequestInputs(arrays, in_regions)


def requested_outputs(interface: Interface, message: Any) -> list[OutputRequest]:
    """The outputs that a ModelInferRequest requests, by default all. Raises RequestError with status 400."""
    specs = {spec.name: spec for spec in interface.outputs}
    requests = RequestedOutputs()
    for output in message.outputs:
        if output.name not in specs:
            raise unknown_output(output.name, specs)
        place = message_region_slice(output)
        classes = _classes(output.parameters) if _CLASSIFICATION in output.parameters else 0
        if classes and place is not None:
            raise both_in_region_and("classification", "output")
        requests.add(OutputRequest(specs[output.name], binary=True, classes=classes, place=place))
    return requests.to_list() or [OutputRequest(spec, binary=True) for spec in interface.outputs]


def _classes(parameters: Any) -> int:
    """The number of classes that an output is requested as."""
    value = parameters[_CLASSIFICATION]
    if value.WhichOneof("parameter_choice") != "int64_param":
        raise input_error("invalid value type for 'classification' parameter, expected int64_param")
    if value.int64_param <= 0:
        raise input_error("invalid value for 'classification' parameter, expected >= 0")
    return int(value.int64_param)


def encode_message(
    model_name: str, model_version: str, request: ParsedRequest, outputs: Mapping[str, np.ndarray]
) -> Any:
    """The ModelInferResponse to `request`, with raw tensors."""
    response = pb.ModelInferResponse(model_name=model_name, model_version=model_version, id=request.id)
    for requested in request.outputs:
        spec, array = requested.spec, outputs[requested.name]
        response.outputs.add(name=spec.name, datatype=spec.dtype.name, shape=array.shape)
        response.raw_output_contents.append(to_raw(spec, array) if requested.place is None else b"")
    return response


def encode_bytes(
    model_name: str, model_version: str, request: ParsedRequest, outputs: Mapping[str, np.ndarray]
) -> bytes:
    """`encode_message`, serialized. Large outputs are copied once instead of three times."""
    message = pb.ModelInferResponse(model_name=model_name, model_version=model_version, id=request.id)
    chunks: list[bytes | memoryview] = [b""]
    for requested in request.outputs:
        spec, array = requested.spec, outputs[requested.name]
        message.outputs.add(name=spec.name, datatype=spec.dtype.name, shape=array.shape)
        raw = raw_view(spec, array) if requested.place is None else b""
        chunks += [_RAW_OUTPUT, _varint(len(raw)), raw]
    chunks[0] = message.SerializeToString()
    return b"".join(chunks)


def _contents_and_region(name: str, model: str) -> RequestError:
    return input_error(
        f"unexpected 'content' provided when using shared memory for input tensor '{name}' for model '{model[:128]}'"
    )


def _timeout_s(parameters: Any, timeout_s: float | None) -> float | None:
    """Seconds that the request may take: its parameter ``timeout``, in microseconds, and the time left for its call."""
    limits = [] if timeout_s is None or not math.isfinite(timeout_s) else [max(timeout_s, 1e-6)]
    if _TIMEOUT in parameters:
        value = parameters[_TIMEOUT]
        microseconds = value.int64_param or value.uint64_param
        if microseconds < 0:
            raise input_error(f"timeout: expected a number of microseconds of at least 0, got {microseconds}")
        limits += [microseconds / 1e6] if microseconds else []
    return min(limits, default=None)


def _guest_timeout_s(parameters: Any) -> float | None:
    """Seconds that the module may compute, from a parameter of any type."""
    if not parameters:
        return None
    return guest_timeout_s(
        {key: getattr(value, value.WhichOneof("parameter_choice") or "", None) for key, value in parameters.items()}
    )


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _from_contents(spec: TensorSpec, tensor: Any) -> np.ndarray:
    """The array of a tensor whose elements are in ``contents``."""
    label, kind = f"input '{spec.name}'", spec.dtype.name
    shape = checked_shape(label, tensor.shape[:])
    if kind not in CONTENTS_FIELDS:
        raise input_error(f"{label}: contents does not support {kind}; send the tensor in raw_input_contents")
    field = CONTENTS_FIELDS[kind]
    for other, _ in tensor.contents.ListFields():
        if other.name != field:
            raise input_error(f"{label} ({kind}) has {other.name}; expected {field}")
    values = getattr(tensor.contents, field)
    count = math.prod(shape)
    if len(values) != count:
        raise input_error(f"{label}: shape {list(shape)} has {count} elements, but {field} has {len(values)}")
    if kind == "BYTES":
        return object_array(list(values), shape)
    dtype: np.dtype[Any] = spec.dtype.numpy
    if dtype.itemsize >= 4 or dtype.kind == "b":  # as wide as the field, or a boolean there too
        return np.fromiter(values, dtype=dtype, count=count).reshape(shape)
    array = np.fromiter(values, dtype=np.int64, count=count)
    bounds = np.iinfo(dtype)
    outside = (array < bounds.min) | (array > bounds.max)
    if outside.any():
        raise input_error(f"{label} ({kind}): {array[outside][0]} is outside {bounds.min} to {bounds.max}")
    return array.astype(dtype).reshape(shape)
