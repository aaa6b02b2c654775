"""Tensors for the table: the same ones each time, and what NumPy makes of them."""

from __future__ import annotations

import math
import zlib

import numpy as np

from portalis.backend.interface.dtypes import BF16, BYTES, DTYPES, bf16_to_f32, f32_to_bf16

SPECIAL = (0.0, -0.0, 1.0, -1.5, 65504.0, -3.4e38, 1e-45, 6e-8, np.inf, -np.inf)
WORDS = (b"", b"a", b"\0\xff", "ä€".encode(), b"four", bytes(300))


def any_bits(dtype: str, shape: tuple[int, ...], seed: str) -> np.ndarray:
    """Elements of any bits, of which a guest that copies them changes none; a BOOL has 0 and 1 only."""
    random, count = np.random.default_rng(zlib.crc32(seed.encode())), math.prod(shape)
    if dtype == "BYTES":
        array = np.empty(count, object)
        array[:] = [WORDS[i] for i in random.integers(0, len(WORDS), count)]
        return array.reshape(shape)
    found = DTYPES[dtype]
    data = random.integers(0, 2 if dtype == "BOOL" else 256, count * found.itemsize, np.uint8)
    return data.view(found.numpy).reshape(shape)


def numbers(dtype: str, shape: tuple[int, ...], seed: str) -> np.ndarray:
    """Elements to compute with: integers of any bits, floats of any size and the special ones, but no NaN, whose bits
    processors choose."""
    if DTYPES[dtype].wasm in ("i32", "i64"):
        return any_bits(dtype, shape, seed)
    random, count = np.random.default_rng(zlib.crc32(seed.encode())), math.prod(shape)
    values = random.standard_normal(count) * np.exp2(random.integers(-30, 30, count))
    chosen = random.random(count) < 0.3
    values[chosen] = np.array(SPECIAL)[random.integers(0, len(SPECIAL), int(chosen.sum()))]
    return from_f64(dtype, values).reshape(shape)


def from_f64(dtype: str, values: np.ndarray) -> np.ndarray:
    """Floats as the dtype's array."""
    with np.errstate(over="ignore"):
        if DTYPES[dtype] is BF16:
            return f32_to_bf16(values.astype(np.float32))
        return np.asarray(values.astype(DTYPES[dtype].numpy))


def added(dtype: str, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x + w as WebAssembly adds them: integers wrap, small floats are widened and rounded."""
    with np.errstate(all="ignore"):
        if dtype == "BOOL":
            return np.asarray(x | w)
        if dtype == "BF16":
            return canonical(f32_to_bf16(bf16_to_f32(x) + bf16_to_f32(w)), dtype)
        if dtype == "FP16":
            return canonical((x.astype(np.float32) + w.astype(np.float32)).astype(np.float16), dtype)
        return canonical(x + w, dtype)


def canonical(array: np.ndarray, dtype: str) -> np.ndarray:
    """`array` with the one NaN that x86 makes of infinities: quiet and negative."""
    bits = {"FP16": 0xFE00, "BF16": 0xFFC0, "FP32": 0xFFC00000, "FP64": 0xFFF8 << 48}.get(dtype)
    if bits is None:
        return array
    result = np.array(array)
    nan = np.isnan(bf16_to_f32(result) if dtype == "BF16" else result)
    result.reshape(-1).view(f"u{result.itemsize}")[nan.reshape(-1)] = bits
    return result


def mixed(dtype: str, x: np.ndarray, w: np.ndarray | None) -> np.ndarray:
    """The result of the kernels for x and w, regardless of the type: the exclusive or of all bytes; for BYTES, the last
    input that is present."""
    if w is None:
        return x
    if DTYPES[dtype] is BYTES:
        return w
    x, w = np.broadcast_arrays(x, w)
    octets = np.ascontiguousarray(x).reshape(-1).view(np.uint8) ^ np.ascontiguousarray(w).reshape(-1).view(np.uint8)
    return octets.view(x.dtype).reshape(x.shape)
