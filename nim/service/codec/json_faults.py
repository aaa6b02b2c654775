"""The first fault of an inference request's JSON with the text of Triton's HTTP front end; "" where it finds none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from ..request_errors import MODEL_NAME
from ..runtime_api import Interface
from .core_faults import MAX_NAME, DeclaredInput, core_fault, duplicate_input, element_count

_NO_SHAPE = "Shape does not match true shape of 'data' field"
_END = object()
_NONFINITE = ("NaN", "Infinity", "-Infinity")
_SOURCES = ("binary_data_size", "shared_memory_region")


class JsonFault(Exception):
    """The text of a fault."""


def json_fault(document: Any, interface: Interface, tail: memoryview) -> str:
    """The first fault of the request `document`, which the raw tensors `tail` follow."""
    try:
        request_id = _optional(document, "id", _text, "Unable to parse 'id'")
        check_parameters(document)
        inputs: list[DeclaredInput] = []
        names, rest = set(), tail
        for each in _list(document, "inputs"):
            declared, rest = _input(each, rest, request_id)
            if declared.name in names:
                return duplicate_input(request_id, declared.name)
            names.add(declared.name)
            inputs.append(declared)
        if len(rest):
            return f"unexpected additional input data for model '{MODEL_NAME}'"
        outputs = [_output(each) for each in _list(document, "outputs")] if _has(document, "outputs") else []
    except JsonFault as fault:
        return str(fault)
    return core_fault(interface, request_id, inputs, outputs)


def check_parameters(document: Any) -> None:
    """Check the parameters of a request. Raises JsonFault."""
    if not _has(document, "parameters"):
        return
    parameters = document["parameters"]
    if not isinstance(parameters, dict):
        raise JsonFault("failed to get request params.: attempt to get members for non-object")
    for key, value in parameters.items():
        if key == "sequence_id":
            if not _is_unsigned(value):
                _read(_text, value, "Unable to parse 'sequence_id'")
        elif key in _KINDS:
            _read(_KINDS[key], value, f"Unable to parse '{key}'")
        elif key.startswith("triton_"):
            raise JsonFault(
                "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified."
            )
        elif not isinstance(value, (str, int, float)):
            raise JsonFault(
                f"parameter '{key[:MAX_NAME]}' has invalid type. It should be either 'int', 'bool', or 'string'."
            )


def _input(tensor: Any, tail: memoryview, request_id: str | None) -> tuple[DeclaredInput, memoryview]:
    """The input that `tensor` declares, and the rest of the raw tensors."""
    parameters = tensor["parameters"] if _has(tensor, "parameters") else {}
    _check_source(tensor, parameters)
    name = _member(tensor, "name", _text)
    datatype = _member(tensor, "datatype", _text)
    shape = [_read(_unsigned, size, "Unable to parse 'shape'") for size in _list(tensor, "shape")]
    if _has(parameters, "binary_data_size"):
        size = _read(_unsigned, parameters["binary_data_size"], "Unable to parse 'binary_data_size'")
        if size > len(tail):
            raise JsonFault(
                f"unexpected size for input '{name[:MAX_NAME]}', expecting {size - len(tail)} additional bytes"
                f" for model '{MODEL_NAME}'"
            )
        return DeclaredInput(name, datatype, shape, size, tail[:size]), tail[size:]
    if _has(parameters, "shared_memory_region"):
        _check_region(parameters)
        return DeclaredInput(name, datatype, shape), tail
    found = _check_data(name, datatype, element_count(shape) if shape else 0, tensor)
    if datatype == "BYTES":
        # only the number of elements counts
        return DeclaredInput(name, datatype, shape, 4 * found, bytes(4 * found)), tail
    return DeclaredInput(name, datatype, shape), tail


def _check_source(tensor: Any, parameters: Any) -> None:
    found = ["data"] * _has(tensor, "data") + [key for key in _SOURCES if _has(parameters, key)]
    if len(found) == 1:
        return
    what = f"set {' '.join(map(repr, found))}" if found else "no field is set"
    raise JsonFault(
        "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters',"
        f" 'shared_memory_region' in 'parameters'. But {what}"
    )


def _check_data(name: str, datatype: str, count: int, tensor: Any) -> int:
    """The number of elements of the data of an input whose shape has `count`."""
    if count == 0:
        return 0
    data = _list(tensor, "data")
    if datatype == "BYTES":
        return sum(1 for each in _elements(data) if _read(_text, each, "Unable to parse JSON bytes array") is not None)
    read = _ELEMENTS.get(datatype)
    if read is None:
        raise JsonFault(f"invalid datatype for input {name[:MAX_NAME]}")
    elements = _elements(data)
    seen = 0
    for element in islice(elements, min(count, sys.maxsize)):
        _read(read, element, "Unable to parse 'data'")
        seen += 1
    if seen != count or next(elements, _END) is not _END:
        raise JsonFault(f"Unable to parse 'data': {_NO_SHAPE}")
    return seen


def _elements(data: list[Any]) -> Iterator[Any]:
    """The elements of `data`, of any nesting: a client's lists can be nested more deeply than functions may be."""
    levels = [iter(data)]
    while levels:
        element = next(levels[-1], _END)
        if element is _END:
            levels.pop()
        elif isinstance(element, list):
            levels.append(iter(element))
        else:
            yield element


def _check_region(parameters: Any) -> None:
    _read(_text, parameters["shared_memory_region"], "Unable to parse 'shared_memory_region'")
    for key in ("shared_memory_offset", "shared_memory_byte_size"):
        _optional(parameters, key, _unsigned, f"Unable to parse '{key}'")


def _output(output: Any) -> str:
    """The name of a requested output."""
    parameters = output["parameters"] if _has(output, "parameters") else {}
    in_memory = _has(parameters, "shared_memory_region")
    if in_memory and _has(parameters, "classification"):
        raise JsonFault("Output can't set both 'shared_memory_region' and 'classification'")
    if (
        in_memory
        and _has(parameters, "binary_data")
        and _read(_boolean, parameters["binary_data"], "Unable to set 'binary_data'")
    ):
        raise JsonFault("Output can't set both 'shared_memory_region' and 'binary_data'")
    name = _member(output, "name", _text)
    if in_memory:
        _check_region(parameters)
    if _has(parameters, "classification"):
        _read(_unsigned, parameters["classification"], "Unable to set 'classification'")
    if not in_memory and _has(parameters, "binary_data"):
        _read(_boolean, parameters["binary_data"], "Unable to parse 'binary_data'")
    return str(name)


def _has(value: Any, key: str) -> bool:
    return isinstance(value, dict) and key in value


def _member(owner: Any, key: str, read: Callable[[Any], Any]) -> Any:
    if not _has(owner, key):
        raise JsonFault(f"Unable to parse '{key}': attempt to access non-existing object member '{key}'")
    return _read(read, owner[key], f"Unable to parse '{key}'")


def _list(owner: Any, key: str) -> Any:
    return _member(owner, key, _array)


def _optional(owner: Any, key: str, read: Callable[[Any], Any], label: str) -> Any:
    return _read(read, owner[key], label) if _has(owner, key) else None


def _read(read: Callable[[Any], Any], value: Any, label: str) -> Any:
    try:
        return read(value)
    except JsonFault as fault:
        raise JsonFault(f"{label}: {fault}") from None


def _array(value: Any) -> Any:
    return _checked(value, isinstance(value, list), "non-array as array")


def _text(value: Any) -> Any:
    return _checked(value, isinstance(value, str), "non-string as string")


def _boolean(value: Any) -> Any:
    return _checked(value, isinstance(value, bool), "non-boolean as boolean")


def _unsigned(value: Any) -> Any:
    return _checked(value, _is_unsigned(value), "non-unsigned-integer as unsigned-integer")


def _signed(value: Any) -> Any:
    return _checked(value, type(value) is int and value < 2**63, "non-signed-integer as signed-integer")


def _number(value: Any) -> Any:
    return _checked(value, type(value) in {int, float} or value in _NONFINITE, "non-number as double")


def _is_unsigned(value: Any) -> bool:
    return type(value) is int and value >= 0


def _checked(value: Any, valid: bool, text: str) -> Any:
    if not valid:
        raise JsonFault(f"attempt to access JSON {text}")
    return value


_KINDS: dict[str, Callable[[Any], Any]] = {
    "sequence_start": _boolean,
    "sequence_end": _boolean,
    "priority": _unsigned,
    "timeout": _unsigned,
    "binary_data_output": _boolean,
}
_ELEMENTS: dict[str, Callable[[Any], Any]] = {
    "BOOL": _boolean,
    **dict.fromkeys(("UINT8", "UINT16", "UINT32", "UINT64"), _unsigned),
    **dict.fromkeys(("INT8", "INT16", "INT32", "INT64"), _signed),
    **dict.fromkeys(("FP16", "BF16", "FP32", "FP64"), _number),
}
