"""The first fault of a ModelInferRequest with the text of Triton's gRPC front end; "" where it finds none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..request_errors import MODEL_NAME, RequestError
from ..runtime_api import Interface
from .core_faults import MAX_NAME, DeclaredInput, core_fault, duplicate_input
from .region_parameters import message_region_slice

_KINDS: Mapping[str, tuple[str, ...]] = {
    "sequence_id": ("int64_param", "string_param"),
    "sequence_start": ("bool_param",),
    "sequence_end": ("bool_param",),
    "priority": ("int64_param", "uint64_param"),
    "timeout": ("int64_param",),
}
_OTHERS = ("int64_param", "bool_param", "string_param", "double_param")
_FINAL = "triton_enable_empty_final_response"
_RESERVED = (
    "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys starting with"
    f" 'triton_' are allowed: {_FINAL}"
)


def protobuf_fault(interface: Interface, message: Any) -> str:
    """The first fault of `message`."""
    names: set[str] = set()
    fault = parameters_fault(message.parameters)
    if fault:
        return fault
    for tensor in message.inputs:
        if tensor.name in names:
            return duplicate_input(message.id, tensor.name)
        names.add(tensor.name)
    inputs: list[DeclaredInput] = []
    contents = message.raw_input_contents[:]
    raw = iter(contents)
    for tensor in message.inputs:
        fault, declared = _input(tensor, raw, any_raw=bool(contents))
        if fault:
            return fault
        inputs.append(declared)
    for output in message.outputs:
        fault = _output_fault(output.parameters)
        if fault:
            return fault
    return core_fault(interface, message.id, inputs, [output.name for output in message.outputs])


def parameters_fault(parameters: Any) -> str:
    """The first fault of the parameters of a request."""
    for key, value in parameters.items():
        kind = value.WhichOneof("parameter_choice")
        if key.startswith("triton_"):
            if key != _FINAL:
                return _RESERVED
            if kind != "bool_param":
                return f"invalid value type for '{key}' parameter, expected bool_param."
        elif kind not in _KINDS.get(key, _OTHERS):
            expected = " or ".join(_KINDS[key]) if key in _KINDS else "int64_param, bool_param, or string_param"
            return f"invalid value type for '{key[:MAX_NAME]}' parameter, expected {expected}."
        elif key == "priority" and value.int64_param < 0:
            return "invalid value for 'priority', expected value >= 0."
    return ""


def _input(tensor: Any, contents: Iterator[bytes], *, any_raw: bool) -> tuple[str, DeclaredInput]:
    """The fault of an input, and the input."""
    name, datatype, shape = tensor.name, tensor.datatype, tensor.shape[:]
    declared = DeclaredInput(name, datatype, shape)
    where = f"'{name[:MAX_NAME]}' for model '{MODEL_NAME}'"
    try:
        if message_region_slice(tensor) is not None:
            return "", declared
    except RequestError as error:
        return error.message, declared
    if tensor.HasField("contents"):
        if any_raw:
            return f"contents field must not be specified when using raw_input_contents for {where}", declared
        return _contents(tensor, where, declared)
    raw = next(contents, None)
    if raw is None:
        return f"unable to find data for input tensor {where} in request.", declared
    return "", DeclaredInput(name, datatype, shape, len(raw), raw)


_FIELDS = {
    "bool_contents": "BOOL",
    "int_contents": "INT32",
    "int64_contents": "INT64",
    "uint_contents": "UINT32",
    "uint64_contents": "UINT64",
    "fp32_contents": "FP32",
    "fp64_contents": "FP64",
    "bytes_contents": "BYTES",
}
"""The fields of ``contents`` in the order of the checks, and the data type of each."""
_NARROW = {"int_contents": ("INT8", "INT16"), "uint_contents": ("UINT8", "UINT16")}
_SIZES = {"BOOL": 1, "INT8": 1, "UINT8": 1, "INT16": 2, "UINT16": 2, "INT32": 4, "UINT32": 4, "FP32": 4}


def _contents(tensor: Any, where: str, declared: DeclaredInput) -> tuple[str, DeclaredInput]:
    size = 0
    for field, kind in _FIELDS.items():
        values = getattr(tensor.contents, field)
        if not values:
            continue
        if size:
            text = f"unexpected explicit tensor data for input tensor {where}, binary data was already supplied."
            return text, declared
        if tensor.datatype != kind and tensor.datatype not in _NARROW.get(field, ()):
            text = f"unexpected explicit tensor data for input tensor {where} of type '{kind}', expected datatype"
            return f"{text} '{tensor.datatype[:MAX_NAME]}'", declared
        size = (
            sum(4 + len(value) for value in values) if kind == "BYTES" else len(values) * _SIZES.get(tensor.datatype, 8)
        )
    data = b"".join(len(each).to_bytes(4, "little") + each for each in tensor.contents.bytes_contents)
    return "", DeclaredInput(declared.name, declared.datatype, declared.shape, size, data)


def _output_fault(parameters: Any) -> str:
    if "classification" not in parameters:
        return ""
    value = parameters["classification"]
    if value.WhichOneof("parameter_choice") != "int64_param":
        return "invalid value type for 'classification' parameter, expected int64_param"
    if value.int64_param <= 0:
        return "invalid value for 'classification' parameter, expected >= 0"
    if "shared_memory_region" in parameters:
        return "output can't set both 'shared_memory_region' and 'classification'"
    return ""
