"""Tensors as a person reads them: printed, as JSON (the service's own), and in files. No byte changes on the way.

BF16 values are float32 arrays here.
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
"""Of one element of BYTES, which may be a whole picture."""
_PIECE = 1 << 16


def format_tensor(array: Array) -> str:
    """A tensor's values in one or a few lines; long ones are shortened in the middle."""
    if array.dtype == object:
        shown = [format_element(each) for each in array.ravel()[:_SHOWN_ELEMENTS]]
        more = f", … {array.size - _SHOWN_ELEMENTS} more" if array.size > _SHOWN_ELEMENTS else ""
        return "[" + ", ".join(shown) + more + "]"
    return np.array2string(
        array, threshold=_SHOWN_ELEMENTS, edgeitems=3, precision=6, separator=", ", max_line_width=110
    )


def format_element(element: bytes) -> str:
    """An element of BYTES as a literal: ``"text"`` in JSON's escapes, else ``b"\\xff"``; a terminal only shows it."""
    part = element[:_SHOWN_BYTES]
    try:
        literal = json.dumps(_whole(part, element).decode(), ensure_ascii=False)
        literal = "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in literal)
    except UnicodeDecodeError:
        literal = 'b"' + "".join(_ESCAPES.get(each) or chr(each) for each in part) + '"'
    return literal if len(element) <= _SHOWN_BYTES else f"{literal} … {len(element)} bytes"


_ESCAPES = {each: f"\\x{each:02x}" for each in range(256) if not 0x20 <= each < 0x7F} | {0x22: '\\"', 0x5C: "\\\\"}


def _whole(part: bytes, element: bytes) -> bytes:
    """`part`, the beginning of `element`, without a character that it cuts."""
    end = len(part)
    while end < len(element) and end > len(part) - 4 and element[end] & 0xC0 == 0x80:
        end -= 1
    return part[:end]


def tensor_json(name: str, datatype: str, array: Array) -> dict[str, Any]:
    """A tensor as the service writes it, in the same words: data flat and row-major, base64 where BYTES are no text."""
    tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
    data, encoding = json_data.encode_elements(DTYPES["FP32" if datatype == "BF16" else datatype], array)
    if encoding is not None:
        tensor["parameters"] = {"content_encoding": encoding}
    tensor["data"] = data if isinstance(data, list) else _numbers(data)
    return tensor


def _numbers(flat: Array) -> list[Any]:
    """The elements as Python's: of FP32 and smaller the number with the fewest digits that is the same FP32."""
    if flat.dtype.kind != "f" or flat.dtype == np.float64:
        whole: list[Any] = flat.tolist()
        return whole
    pieces = (flat[start : start + _PIECE].astype(np.float32) for start in range(0, flat.size, _PIECE))
    return [element for piece in pieces for element in piece.astype("U").astype(np.float64).tolist()]


def check_output_path(name: str, datatype: str, path: Path) -> None:
    """Raises UsageError where no tensor of `datatype` can be saved as `path`."""
    if path.suffix != ".npy" and datatype != "BYTES":
        raise UsageError(
            f"output {name!r} is {datatype}: numbers are saved as .npy files",
            remediation=f"--output {name}=@{name}.npy",
        )


def check_savable(name: str, array: Array, path: Path) -> None:
    """Raises UsageError where the file would not give the elements back."""
    if array.dtype != object:
        return
    if path.suffix != ".npy":
        if array.size != 1:
            raise UsageError(
                f"output {name!r} has {array.size} elements, and {path} would hold the bytes of one",
                remediation=f"--output {name}=@{name}.npy saves several, and --json prints them.",
            )
        return
    # a fixed-width array drops trailing NULs
    index = next((index for index, each in enumerate(array.ravel()) if each.endswith(b"\0")), None)
    if index is not None:
        raw = f"--output {name}=@{name}.bin saves the bytes as they are, and " if array.size == 1 else ""
        raise UsageError(
            f"element {index} of output {name!r} ends in a NUL byte, which .npy files drop",
            remediation=f"{raw}--json prints every byte.",
        )


def save_tensor(array: Array, path: Path) -> None:
    """Write the file, after `check_savable`: ``.npy``, else the bytes of the one element."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".npy":
        path.write_bytes(array.ravel()[0])
        return
    with path.open("wb") as file:  # BYTES as fixed-width bytes: NumPy would pickle objects
        np.save(file, array.astype("S") if array.dtype == object else array, allow_pickle=False)
