"""DLPack capsules for bfloat16, the only dtype that NumPy does not support.

Layout: ``DLManagedTensor`` of DLPack 0.8 on a 64-bit host (the unversioned struct that Triton's Python backend speaks).
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ..constants import BFLOAT

_NAME = b"dltensor"
_CPU, _CUDA_HOST = 1, 3
_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _DLManagedTensor(ctypes.Structure):
    """``DLManagedTensor`` of DLPack 0.8."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", _Deleter),
    ]


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]

_alive: dict[int, tuple[Any, ...]] = {}  # objects that the consumer of a capsule still uses, by address of the struct


def _forget(address: int) -> None:
    _alive.pop(address, None)


_delete = _Deleter(_forget)


def read_bf16(capsule: Any) -> np.ndarray:
    """The row-major bfloat16 tensor in `capsule` as a uint16 array of raw bits, which keeps the capsule alive."""
    tensor = _DLManagedTensor.from_address(_get_pointer(capsule, _NAME))
    if tensor.device_type not in (_CPU, _CUDA_HOST) or (tensor.code, tensor.bits) != (BFLOAT, 16):
        raise ValueError(f"not a bfloat16 tensor in host memory (device {tensor.device_type}, type {tensor.code})")
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    count = int(np.prod(shape, dtype=np.int64))
    if not count:
        return np.empty(shape, np.uint16)
    buffer: Any = (ctypes.c_uint16 * count).from_address(tensor.data + tensor.byte_offset)
    buffer.capsule = capsule
    bits: np.ndarray = np.frombuffer(buffer, np.uint16)
    return bits.reshape(shape)


def make_bf16(bits: np.ndarray) -> Any:
    """A capsule with `bits` (uint16, copied only if not row-major) as a bfloat16 tensor.

    It must be consumed: an unconsumed capsule keeps its array alive permanently.
    """
    bits = bits if bits.flags.c_contiguous else bits.copy()  # ascontiguousarray would add a dimension to a scalar
    shape = (ctypes.c_int64 * max(bits.ndim, 1))(*bits.shape)
    tensor = _DLManagedTensor(bits.ctypes.data, _CPU, 0, bits.ndim, BFLOAT, 16, 1, shape, None, 0, None, _delete)
    _alive[ctypes.addressof(tensor)] = (tensor, shape, bits)
    return _new_capsule(ctypes.addressof(tensor), _NAME, None)
