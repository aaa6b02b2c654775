"""Bilinear resizing with half-pixel centers and ImageNet normalization, applied to a photograph of a cat.

chelsea.png: "Chelsea the cat" by Stefan van der Walt, CC0 (no copyright restrictions), as scikit-image ships it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

RTOL, ATOL = 1e-5, 2e-5
SIDE = 224
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def read_png(path: Path) -> np.ndarray:
    """Decode an 8-bit RGB PNG without interlacing to UINT8 [height, width, 3]; see section 9 of its specification."""
    data, at, packed = path.read_bytes(), 8, b""
    width = height = 0
    while at < len(data):
        (size,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", data, at + 8)
            if (depth, colour, interlace) != (8, 2, 0):
                raise ValueError(f"{path} is not an 8-bit RGB image without interlacing")
        elif kind == b"IDAT":
            packed += data[at + 8 : at + 8 + size]
        at += 12 + size
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + 3 * width)
    image, above = np.empty((height, 3 * width), np.uint8), np.zeros(3 * width, np.int64)
    for y in range(height):
        above = _unfilter(int(lines[y, 0]), lines[y, 1:].astype(np.int64), above)
        image[y] = above
    return image.reshape(height, width, 3)


def _unfilter(kind: int, line: np.ndarray, above: np.ndarray) -> np.ndarray:
    if kind == 0:
        return line
    if kind == 2:
        return np.asarray((line + above) & 255)
    out = np.zeros(line.size + 3, np.int64)  # three zero bytes: the pixel to the left of the first
    up = np.concatenate([np.zeros(3, np.int64), above])
    for i in range(3, out.size):
        left, over, corner = out[i - 3], up[i], up[i - 3]
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + over) // 2
        else:
            p = left + over - corner
            distances = abs(p - left), abs(p - over), abs(p - corner)
            guess = (left, over, corner)[distances.index(min(distances))]
        out[i] = (line[i - 3] + guess) & 255
    return out[3:]


def inputs() -> dict[str, np.ndarray]:
    return {"image": read_png(Path(__file__).with_name("chelsea.png"))[None]}


def _taps(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scale = np.float32(size) / np.float32(SIDE)
    at = (np.arange(SIDE, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    at = np.maximum(at, np.float32(0))
    low = np.minimum(at.astype(np.int64), size - 1)
    return low, np.minimum(low + 1, size - 1), at - low.astype(np.float32)


def reference(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    image = given["image"].astype(np.float32)
    top, bottom, down = _taps(image.shape[1])
    left, right, across = _taps(image.shape[2])
    across = across[None, None, :, None]
    upper = image[:, top][:, :, left] * (1 - across) + image[:, top][:, :, right] * across
    lower = image[:, bottom][:, :, left] * (1 - across) + image[:, bottom][:, :, right] * across
    down = down[None, :, None, None]
    resized = upper * (1 - down) + lower * down
    normalised = (resized / np.float32(255) - MEAN) / DEVIATION
    return {"pixels": np.ascontiguousarray(normalised.transpose(0, 3, 1, 2), dtype=np.float32)}


def describe(given: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> list[str]:
    pixels = got["pixels"]
    means = ", ".join(f"{name} {pixels[0, c].mean():+.3f}" for c, name in enumerate(("red", "green", "blue")))
    return [f"photograph {list(given['image'].shape)} UINT8 -> {list(pixels.shape)} FP32, channel means {means}"]
