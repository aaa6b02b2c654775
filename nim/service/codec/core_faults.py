"""The first fault of a request with the text of Triton's core, which clients compare; "" where the core finds none.

The checks of a request do not depend on this module. It is called for a request that was rejected, to describe it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..request_errors import MODEL_NAME, RequestError
from ..runtime_api import Interface, TensorSpec
from .parsed_request import ParsedRequest

MAX_NAME = 128
"""Maximum number of characters of a client's text in a message."""
_MAX_FAULT = 2000  # characters of a fault: a request can have any number of inputs
_MAX_CHECKED = 1 << 17  # elements of a BYTES tensor: further ones would delay other requests
_LENGTH_BYTES = 4  # of an element of a BYTES tensor
_MAX_ROWS = (1 << 32) - 1  # the core's number of rows has 32 bits
_MAX_COUNT = (1 << 64) - 1
_BATCH_NOTE = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each"
    " input shape. If you want to specify the full shape including the batch dim in your input dims config, try setting"
    " max_batch_size to zero. See the model configuration docs for more info on max_batch_size."
)


@dataclass(frozen=True, slots=True)
class DeclaredInput:
    """An input of a request, before it is known to match the model."""

    name: str
    datatype: str
    shape: Sequence[int]
    size: int | None = None
    """Size of its data in bytes, None if it is unknown."""
    data: bytes | memoryview = b""
    """The raw data of a BYTES tensor."""


def described(error: RequestError, fault: str) -> RequestError:
    """`error` with the text `fault`, unless that is "". The original text follows in parentheses."""
    if len(fault) > _MAX_FAULT:
        fault = f"{fault[:_MAX_FAULT]} …"
    if not fault or error.message.startswith(fault):
        return error
    return RequestError(error.status, error.kind, f"{fault} ({error.message})")


def describe_rejected(error: RequestError, interface: Interface, request: ParsedRequest) -> RequestError:
    """`error`, with which the model rejected the inputs of a decoded request, described."""
    if error.kind != "InputError":
        return error
    datatypes = {spec.name: spec.dtype.name for spec in interface.inputs}
    shapes: dict[str, tuple[int, ...]] = {name: array.shape for name, array in request.inputs.items()}
    shapes |= {name: each.shape for name, each in request.region_inputs.items()}
    inputs = [DeclaredInput(name, datatypes[name], shape) for name, shape in shapes.items()]
    return described(error, core_fault(interface, request.id, inputs, ()))


def prefixed(request_id: str | None, text: str) -> str:
    """`text` as the core logs it, with the id of the request."""
    return f"[request id: {(request_id or '<id_unknown>')[:MAX_NAME]}] {text}"


def duplicate_input(request_id: str | None, name: str) -> str:
    """An input appears twice."""
    return prefixed(request_id, f"input '{name[:MAX_NAME]}' already exists in request")


def element_count(shape: Iterable[int]) -> int:
    """The number of elements of `shape` in 64 bits, as the core counts them."""
    count = 1
    for size in shape:
        count = count * size & _MAX_COUNT
    return count


def core_fault(
    interface: Interface, request_id: str | None, inputs: Sequence[DeclaredInput], outputs: Iterable[str]
) -> str:
    """The first fault of a request with these inputs and requested outputs."""
    known = {spec.name for spec in interface.outputs}
    inputs = inputs[::-1]  # the order in which Triton checks them
    for name in sorted(outputs):
        if name not in known:
            return f"unexpected inference output '{name[:MAX_NAME]}' for model '{MODEL_NAME}'"
    fault = _count_fault(interface, inputs)
    if fault:
        return prefixed(request_id, fault)
    specs = {spec.name: spec for spec in interface.inputs}
    for each in inputs:
        if each.name not in specs:
            return f"unexpected inference input '{each.name[:MAX_NAME]}' for model '{MODEL_NAME}'"
    fault = _batch_fault(interface, inputs) or next(
        filter(None, (_input_fault(interface, specs[each.name], each) for each in inputs)), ""
    )
    return prefixed(request_id, fault) if fault else ""


def _count_fault(interface: Interface, inputs: Sequence[DeclaredInput]) -> str:
    required = [spec.name for spec in interface.inputs if not spec.optional]
    total, count = len(interface.inputs), len(inputs)
    if len(required) <= count <= total:
        return ""
    names = [each.name[:MAX_NAME] for each in inputs]
    missing = _quoted([name for name in required if name not in names])
    expected = f"{total} inputs" if len(required) == total else f"number of inputs between {len(required)} and {total}"
    return (
        f"expected {expected} but got {count} inputs for model '{MODEL_NAME}'. Got input(s) {_quoted(names) or '[]'},"
        f" but missing required input(s) {missing or ']'}. Please provide all required input(s)."
    )


def _quoted(names: Sequence[str]) -> str:
    return f"[{','.join(map(repr, names))}]" if names else ""


def _batch_fault(interface: Interface, inputs: Sequence[DeclaredInput]) -> str:
    if not interface.max_batch_size:
        return ""
    rows = 0
    for each in inputs:
        if not each.shape:
            return f"input '{each.name}' has no shape but model requires batch dimension for '{MODEL_NAME}'"
        if rows == 0:
            rows = each.shape[0] & _MAX_ROWS
        elif each.shape[0] & _MAX_ROWS != rows:
            return f"input '{each.name}' batch size does not match other inputs for '{MODEL_NAME}'"
    if rows > interface.max_batch_size:
        return f"inference request batch-size must be <= {interface.max_batch_size} for '{MODEL_NAME}'"
    return ""


def _input_fault(interface: Interface, spec: TensorSpec, declared: DeclaredInput) -> str:
    name, shape = declared.name, list(declared.shape)
    kind = spec.dtype.name
    if declared.datatype != kind:
        found = declared.datatype if declared.datatype in _DATATYPES else "<invalid>"
        return f"inference input '{name}' data-type is '{found}', but model '{MODEL_NAME}' expects '{kind}'"
    batches = interface.max_batch_size > 0
    dims = list(spec.dims) or [1]  # a scalar is a vector of one element in Triton
    sizes = shape[1:] if batches else shape
    if len(sizes) == len(dims) and -1 in sizes:
        return (
            f"All input dimensions should be specified for input '{name}' for model '{MODEL_NAME}', got {_dims(shape)}"
        )
    if len(sizes) != len(dims) or any(
        size not in (expected, -1) and expected != -1 for size, expected in zip(sizes, dims)
    ):
        expected_dims = _dims([-1] * batches + dims)
        note = _BATCH_NOTE if batches else ""
        return (
            f"unexpected shape for input '{name}' for model '{MODEL_NAME}'. Expected {expected_dims}, got"
            f" {_dims(shape)}. {note}"
        )
    if declared.size is None:
        return ""
    # a batch of no rows has the size of one row
    count = element_count(sizes if batches and shape[0] & _MAX_ROWS == 0 else shape)
    if kind == "BYTES":
        return _bytes_fault(declared, count)
    expected_size = count * spec.dtype.numpy.itemsize
    if declared.size == expected_size:
        return ""
    return (
        f"input byte size mismatch for input '{name}' for model '{MODEL_NAME}'. Expected {expected_size}, got"
        f" {declared.size}"
    )


_DATATYPES = frozenset(
    (
        "BOOL",
        "UINT8",
        "UINT16",
        "UINT32",
        "UINT64",
        "INT8",
        "INT16",
        "INT32",
        "INT64",
        "FP16",
        "FP32",
        "FP64",
        "BYTES",
        "BF16",
    )
)


def _dims(sizes: Sequence[int]) -> str:
    return f"[{','.join(map(str, sizes))}]"


def _bytes_fault(declared: DeclaredInput, count: int) -> str:
    where = f"for inference input '{declared.name}' for model '{MODEL_NAME}'"
    data, offset, checked = declared.data, 0, 0
    while offset < len(data):
        if checked == _MAX_CHECKED:
            return ""
        left = len(data) - offset
        if left < _LENGTH_BYTES:
            return (
                f"incomplete string length indicator {where}, expecting {_LENGTH_BYTES} bytes but only {left} bytes"
                " available. Please make sure the string length indicator is in one buffer."
            )
        checked += 1
        if checked > count:
            return f"unexpected number of string elements {checked} {where}, expecting {count}"
        offset += _LENGTH_BYTES + int(struct.unpack_from("<I", data, offset)[0])
    if checked != count:
        return f"expected {count} string elements {where}, got {checked}"
    return ""
