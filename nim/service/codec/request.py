"""Decoding of inference requests over HTTP: from a body to input arrays and requested outputs.

The functions share no state, so any thread or process can call them. Large tensors take long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from ..request_errors import RequestError, input_error
from ..runtime_api import Interface, SettingsError, TensorSpec, request_timeout_s
from .binary_data import Body, RawTail, explain_json_error, split_body
from .core_faults import described
from .inference_schema import (
    InferRequest,
    OutputParameters,
    RequestedOutput,
    RequestParameters,
    Tensor,
    TensorParameters,
    V2InferRequest,
    V2Tensor,
)
from .json_codec import parse_json
from .json_faults import JsonFault, check_parameters, json_fault
from .json_tensors import decode_tensor
from .parsed_request import OutputRequest, ParsedRequest, RegionInput, RegionSlice, RequestInputs
from .raw_request import parse_raw_request
from .raw_tensors import from_raw
from .region_parameters import both_in_region_and, region_slice
from .requested_outputs import RequestedOutputs
from .sequence_parameters import sequence_step
from .tensor_checks import (
    check_metadata,
    checked_dtype,
    checked_shape,
    unexpected_input,
    unknown_output,
)
from .validation import describe_validation_error

SMALL_BYTES = 1 << 16
"""Up to this size, a body is decoded and encoded on the event loop: switching to a thread takes longer."""
LARGE_BYTES = 1 << 18
"""From this size on, JSON is decoded in a separate process: in this one it would hold the interpreter's lock for more
than about 10 ms."""
_Request = TypeVar("_Request", InferRequest, V2InferRequest)


def parse_request(
    interface: Interface, body: Body, header_length: str | None = None, *, v2: bool = False
) -> ParsedRequest:
    """The request in `body`.

    With `v2`, its tensors can be raw bytes that follow the JSON; `header_length` is the request header that declares
    the length of the JSON. Without JSON, `body` is a raw binary request. Arrays can be views of `body`. Raises
    RequestError with status 400 that names the problem.
    """
    json_part, raw_part = split_body(body, header_length) if v2 else (body, memoryview(b""))
    if v2 and not json_part:
        return parse_raw_request(interface, body)
    try:
        document = parse_json(json_part)
    except RequestError as error:
        raise explain_json_error(error, body, header_length if v2 else None, v2=v2) from None
    try:
        request = _validated(V2InferRequest, document) if v2 else _validated(InferRequest, document)
        parsed = _parsed(interface, document, request, RawTail(raw_part), len(body))
    except RequestError as error:
        raise (described(error, json_fault(document, interface, raw_part)) if v2 else error) from None
    if not v2 and any(output.binary for output in parsed.outputs):
        raise input_error("outputs as raw bytes are available from /v2/models/{name}/infer only")
    if not v2 and any(output.place is not None for output in parsed.outputs):
        raise input_error("outputs in shared memory are available with /v2/models/{name}/infer only")
    return parsed


def parse_inputs(interface: Interface, document: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The input arrays of a request's JSON object. Raises RequestError with status 400."""
    return _inputs(interface, _validated(InferRequest, document), RawTail(memoryview(b""))).arrays


def guest_timeout_s(parameters: Mapping[str, Any]) -> float | None:
    """The seconds that the module may compute, from the parameters of a request, as on Triton.

    Raises RequestError with status 400 for an invalid value, and for other keys that begin with ``wasm.``.
    """
    try:
        return request_timeout_s(parameters)
    except SettingsError as error:
        raise input_error(str(error)) from None


def _validated(kind: type[_Request], document: Any) -> _Request:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise input_error(describe_validation_error(error)) from None


def _parsed(
    interface: Interface,
    document: Mapping[str, Any],
    request: InferRequest | V2InferRequest,
    tail: RawTail,
    body_bytes: int,
) -> ParsedRequest:
    parameters = request.parameters or RequestParameters()
    step = sequence_step(parameters)
    guest_s = guest_timeout_s(document["parameters"]) if request.parameters else None
    if request.parameters and isinstance(request, V2InferRequest):
        _check_parameters(document)
    arrays, in_regions = _inputs(interface, request, tail, body_bytes)
    outputs = _outputs(interface, request.outputs or (), binary=bool(parameters.binary_data_output))
    timeout_s = parameters.timeout / 1e6 if parameters.timeout else None
    return ParsedRequest(
        request.id, arrays, outputs, timeout_s, guest_s, body_bytes, region_inputs=in_regions, sequence=step
    )


def _check_parameters(document: Mapping[str, Any]) -> None:
    try:
        check_parameters(document)
    except JsonFault as fault:
        raise input_error(str(fault)) from None


def _inputs(
    interface: Interface, request: InferRequest | V2InferRequest, tail: RawTail, body_bytes: int = 0
) -> RequestInputs:
    """The inputs by name. If they are large, all data types and shapes are checked before any data is converted, since
    the conversion of large data is slow."""
    specs = {spec.name: spec for spec in interface.inputs}
    tensors: dict[str, Tensor | V2Tensor] = {}
    for tensor in request.inputs:
        if tensor.name not in specs or tensor.name in tensors:
            raise unexpected_input(tensor.name, specs)
        tensors[tensor.name] = tensor
    missing = [spec.name for spec in interface.inputs if not spec.optional and spec.name not in tensors]
    if missing:
        raise input_error("; ".join(f"input '{name}' is missing" for name in missing))
    places = {name: place for name, tensor in tensors.items() if (place := _place(tensor)) is not None}
    if body_bytes + sum(place.size for place in places.values()) > SMALL_BYTES:
        check_metadata(interface, {name: (tensor.datatype, tensor.shape) for name, tensor in tensors.items()})
    arrays = {name: _input(tensor, specs[name], tail) for name, tensor in tensors.items() if name not in places}
    tail.check_end()
    return RequestInputs(
        arrays, {name: _region_input(tensors[name], specs[name], place) for name, place in places.items()}
    )


def _place(tensor: Tensor | V2Tensor) -> RegionSlice | None:
    """The place of the data in shared memory; None if the request has them. Raises RequestError unless they are in
    exactly one place."""
    parameters = tensor.parameters
    if parameters is None:
        if tensor.data is None:
            raise _not_one_place([])
        return None
    places = {
        "data": tensor.data,
        "binary_data_size": parameters.binary_data_size,
        "shared_memory_region": parameters.shared_memory_region,
    }
    found = [name for name, value in places.items() if value is not None]
    if len(found) != 1:
        raise _not_one_place(found)
    return region_slice(parameters)


def _input(tensor: Tensor | V2Tensor, spec: TensorSpec, tail: RawTail) -> np.ndarray:
    if tensor.data is not None:
        return decode_tensor(tensor, spec)
    label, parameters = f"input '{tensor.name}'", tensor.parameters or TensorParameters()
    checked_dtype(label, tensor.datatype, spec)
    return from_raw(spec, tensor.shape, tail.take(parameters.binary_data_size or 0, label))


def _region_input(tensor: Tensor | V2Tensor, spec: TensorSpec, place: RegionSlice) -> RegionInput:
    label = f"input '{tensor.name}'"
    checked_dtype(label, tensor.datatype, spec)
    return RegionInput(spec, checked_shape(label, tensor.shape), place)


def _not_one_place(found: list[str]) -> RequestError:
    """The data of an input are in no place, or in all those that are `found`."""
    text = (
        "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters',"
        " 'shared_memory_region' in 'parameters'. But"
    )
    return input_error(text + (" set" + "".join(f" '{name}'" for name in found) if found else " no field is set"))


def _outputs(
    interface: Interface, requested: list[RequestedOutput] | tuple[()], *, binary: bool
) -> list[OutputRequest]:
    if not requested:
        return [OutputRequest(spec, binary) for spec in interface.outputs]
    specs = {spec.name: spec for spec in interface.outputs}
    outputs = RequestedOutputs()
    for output in requested:
        name, parameters = output.name, output.parameters
        if name not in specs:
            raise unknown_output(name, specs)
        own, classes, place = None, 0, None
        if parameters is not None:
            own, classes, place = parameters.binary_data, parameters.classification or 0, region_slice(parameters)
            if place is not None:
                _check_alone(parameters)
        # as in Triton, the default of the request is that of outputs that it does not list
        outputs.add(OutputRequest(specs[name], bool(own), classes, place))
    return outputs.to_list()


def _check_alone(parameters: OutputParameters) -> None:
    """Raise RequestError if an output in shared memory is also requested in another form."""
    if parameters.classification is not None:
        raise both_in_region_and("classification")
    if parameters.binary_data:
        raise both_in_region_and("binary_data")
