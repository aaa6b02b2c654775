"""Tensor data types and their NumPy types.

NumPy lacks bfloat16, so BF16 tensors are ``uint16`` arrays of raw bits. BYTES tensors are ``object`` arrays of
``bytes``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..constants import DATA_TYPES, DataTypeRow
from ..errors import InterfaceError


@dataclass(frozen=True)
class DType:
    """A tensor data type. ``itemsize`` is in bytes (1 for BYTES, whose tensors are passed as ``uint8``); ``wasm`` is
    the value type of an element in an elementwise call, or ``""``."""

    name: str
    numpy: np.dtype[np.generic]
    itemsize: int
    code: int
    bits: int
    wasm: str
    number: int  # Triton's

    @property
    def triton(self) -> str:
        """Triton's name in ``config.pbtxt``, such as ``TYPE_FP32`` (BYTES is ``TYPE_STRING`` there)."""
        return "TYPE_STRING" if self.name == "BYTES" else f"TYPE_{self.name}"

    def __str__(self) -> str:
        return self.name


def _dtype(row: DataTypeRow) -> DType:
    itemsize = row.size or 1
    return DType(row.name, np.dtype(row.numpy), itemsize, row.code, itemsize * 8, row.wasm, row.number)


DTYPES = {row.name: _dtype(row) for row in DATA_TYPES.values()}
BYTES = DTYPES["BYTES"]
BF16 = DTYPES["BF16"]
BOOL_TENSOR = DTYPES["BOOL"]


def parse_dtype(text: str) -> DType:
    """The data type named `text`: ``FP32``, ``TYPE_FP32``, ``STRING`` … Raises InterfaceError with the choices."""
    name = str(text).upper().removeprefix("TYPE_")
    found = DTYPES.get("BYTES" if name == "STRING" else name)
    if found is None:
        raise InterfaceError(f"unknown data type {text!r}: use one of {', '.join(DTYPES)}")
    return found


def bf16_to_f32(bits: np.ndarray) -> np.ndarray:
    """Raw bfloat16 bits (uint16, any shape) as float32 of the same shape."""
    widened: np.ndarray = np.left_shift(bits, 16, dtype=np.uint32)
    return np.asarray(widened).view(np.float32)


def f32_to_bf16(values: np.ndarray) -> np.ndarray:
    """float32 of any shape as raw bfloat16 bits (uint16), rounded to nearest even; NaN stays a (quiet) NaN."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    result: np.ndarray = (rounded >> np.uint32(16)).astype(np.uint16)
    nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    if nan.any():
        result[nan] = ((bits[nan] >> np.uint32(16)) | np.uint32(0x40)).astype(np.uint16)
    return result.reshape(np.shape(values))
