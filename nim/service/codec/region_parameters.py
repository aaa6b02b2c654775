"""The parameters of a tensor in shared memory, over HTTP and gRPC. Numbers are parsed here; whether they are within the
region is checked when it is used.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_shared_memory.md
"""

from __future__ import annotations

from typing import Any

from ..request_errors import RequestError, input_error
from ..runtime_api import describe_json_value
from .inference_schema import OutputParameters, TensorParameters
from .parsed_request import RegionSlice

_REGION, _OFFSET, _SIZE = "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"


def region_slice(parameters: TensorParameters | OutputParameters) -> RegionSlice | None:
    """The place in shared memory that the JSON parameters of a tensor name; None without ``shared_memory_region``.
    Raises RequestError with status 400 for values of other types."""
    region = parameters.shared_memory_region
    if region is None:
        return None
    if not isinstance(region, str):
        text = f"Unable to parse '{_REGION}': attempt to access JSON non-string as string"
        raise input_error(f"{text}. It is {describe_json_value(region)}")
    offset = _unsigned(_OFFSET, parameters.shared_memory_offset)
    return RegionSlice(region, offset, _unsigned(_SIZE, parameters.shared_memory_byte_size))


def message_region_slice(tensor: Any) -> RegionSlice | None:
    """The place in shared memory that the parameters of `tensor`, an input or output of a ModelInferRequest, name; None
    without ``shared_memory_region``. Raises RequestError with status 400 for parameters of other types, and for an
    incomplete set of them."""
    parameters = tensor.parameters
    if not parameters:
        return None
    if _REGION not in parameters:
        for name in (_OFFSET, _SIZE):
            if name in parameters:
                text = f"'{name}' can not be specified without '{_REGION}' parameter for tensor '{tensor.name}'"
                raise input_error(text)
        return None
    region = _typed(tensor, _REGION, "string_param")
    offset = _typed(tensor, _OFFSET, "int64_param") if _OFFSET in parameters else 0
    if _SIZE not in parameters:
        raise input_error(f"'{_SIZE}' must be specified along with '{_REGION}' parameter for tensor '{tensor.name}'")
    return RegionSlice(region, offset, _typed(tensor, _SIZE, "int64_param"))


def both_in_region_and(other: str, output: str = "Output") -> RequestError:
    """An output is requested in shared memory and, with the parameter `other`, in another form."""
    return input_error(f"{output} can't set both '{_REGION}' and '{other}'")


def _unsigned(name: str, value: Any) -> int:
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < 1 << 64:
        text = f"Unable to parse '{name}': attempt to access JSON non-unsigned-integer as unsigned-integer"
        raise input_error(f"{text}. It is {describe_json_value(value)}")
    return value


def _typed(tensor: Any, name: str, kind: str) -> Any:
    parameter = tensor.parameters[name]
    if parameter.WhichOneof("parameter_choice") != kind:
        raise input_error(f"invalid value type for '{name}' parameter for tensor '{tensor.name}', expected {kind}.")
    return getattr(parameter, kind)
