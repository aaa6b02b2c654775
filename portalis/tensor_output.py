"""Formats output tensors for users: printed, as the service's JSON, and as files. No byte is changed.

BF16 tensors are float32 arrays here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .backend.interface import json_data
from .backend.interface.dtypes import DTYPES
from .errors import UsageError
from .tensor_input import Array

_SHOWN_ELEMENTS = 24
_SHOWN_BYTES = 400
"""Maximum for one element of BYTES, which can be a whole image."""
_CHUNK = 1 << 16


def format_tensor(array: Array) -> str:
    """A tensor's values in one or a few lines; a long tensor is shortened in the middle."""
    if array.dtype == object:
        elements = [format_element(each) for each in array.ravel()[:_SHOWN_ELEMENTS]]
        more = f", … {array.size - _SHOWN_ELEMENTS} more" if array.size > _SHOWN_ELEMENTS else ""
        return "[" + ", ".join(elements) + more + "]"
    return np.array2string(
        array, threshold=_SHOWN_ELEMENTS, edgeitems=3, precision=6, separator=", ", max_line_width=110
    )


def format_element(element: bytes) -> str:
    """An element of BYTES as a printable literal: ``"text"`` with JSON's escapes, or ``b"\\xff"`` for other bytes."""
    start = element[:_SHOWN_BYTES]
    try:
        literal = json.dumps(_complete(start, element).decode(), ensure_ascii=False)
        literal = "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in literal)
    except UnicodeDecodeError:
        literal = 'b"' + "".join(_ESCAPES.get(each) or chr(each) for each in start) + '"'
    return literal if len(element) <= _SHOWN_BYTES else f"{literal} … {len(element)} bytes"


_ESCAPES = {each: f"\\x{each:02x}" for each in range(256) if not 0x20 <= each < 0x7F} | {0x22: '\\"', 0x5C: "\\\\"}


def _complete(start: bytes, element: bytes) -> bytes:
    """`start` of `element`, without a UTF-8 character that is cut at its end."""
    end = len(start)
    while end < len(element) and end > len(start) - 4 and element[end] & 0xC0 == 0x80:
        end -= 1
    return start[:end]


def tensor_json(name: str, datatype: str, array: Array) -> dict[str, Any]:
    """A tensor in the service's JSON format: data flat in row-major order, base64 for BYTES that are not UTF-8."""
    tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
    data, encoding = json_data.encode_elements(DTYPES["FP32" if datatype == "BF16" else datatype], array)
    if encoding is not None:
        tensor["parameters"] = {"content_encoding": encoding}
    tensor["data"] = data if isinstance(data, list) else _numbers(data)
    return tensor


def _numbers(flat: Array) -> list[Any]:
    """The elements as Python values: for FP32 and smaller types, the shortest number that rounds to the same FP32."""
    if flat.dtype.kind != "f" or flat.dtype == np.float64:
        whole: list[Any] = flat.tolist()
        return whole
    chunks = (flat[start : start + _CHUNK].astype(np.float32) for start in range(0, flat.size, _CHUNK))
    return [element for chunk in chunks for element in chunk.astype("U").astype(np.float64).tolist()]


def check_output_path(name: str, datatype: str, path: Path) -> None:
    """Raise UsageError if a tensor of `datatype` cannot be saved as `path`."""
    if path.suffix != ".npy" and datatype != "BYTES":
        raise UsageError(
            f"output {name!r} is {datatype}: numbers are saved as .npy files",
            remediation=f"--output {name}=@{name}.npy",
        )


def check_savable(name: str, array: Array, path: Path) -> None:
    """Raise UsageError if the elements could not be restored from the file."""
    if array.dtype != object:
        return
    if path.suffix != ".npy":
        if array.size != 1:
            raise UsageError(
                f"output {name!r} has {array.size} elements, and {path} can hold the bytes of only one",
                remediation=f"--output {name}=@{name}.npy saves all elements, and --json prints them.",
            )
        return
    # a fixed-width array drops trailing NULs
    index = next((index for index, each in enumerate(array.ravel()) if each.endswith(b"\0")), None)
    if index is not None:
        raw = f"--output {name}=@{name}.bin saves the bytes unchanged, and " if array.size == 1 else ""
        raise UsageError(
            f"element {index} of output {name!r} ends in a NUL byte, which .npy files drop",
            remediation=f"{raw}--json prints every byte.",
        )


def save_tensor(array: Array, path: Path) -> None:
    """Write a tensor that passed `check_savable`, as ``.npy``, or else the bytes of its one element."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".npy":
        path.write_bytes(array.ravel()[0])
        return
    with path.open("wb") as file:  # BYTES as fixed-width bytes, because NumPy would pickle objects
        np.save(file, array.astype("S") if array.dtype == object else array, allow_pickle=False)
