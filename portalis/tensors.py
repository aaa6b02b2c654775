"""Tensors as a person writes and reads them: ``x=[1,2,3]``, ``image=@photo.jpg``, ``text=@letter.txt``.

BF16 values are float32 arrays here; who sends them converts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .backend.interface import TensorSpec
from .errors import MissingPart, UsageError

Array = npt.NDArray[Any]
IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
SHOWN_ELEMENTS = 24


def split_assignment(text: str, *, option: str) -> tuple[str, str]:
    """``name=value`` apart; the value may hold further equals signs."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value:
        raise UsageError(f"{option} {text!r} is not of the form NAME=VALUE", remediation=_FORMS)
    return name.strip(), value


_FORMS = "VALUE is JSON ('[1,2,3]'), text, or a file: @x.npy, @x.json, @photo.jpg, @letter.txt."


def read_tensor(spec: TensorSpec, value: str, *, batches: bool) -> Array:
    """The array that `value` means for the input `spec`, with the batch dimension when the model `batches`.

    Raises UsageError when it cannot be had: no such file, another dtype, another rank.
    """
    array = _from_file(spec, Path(value[1:])) if value.startswith("@") else _from_text(spec, value)
    return _fit(spec, _convert(spec, array), batches=batches)


def _from_text(spec: TensorSpec, value: str) -> Array:
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError as problem:
        if spec.dtype.name == "BYTES":
            return _bytes_array(value)
        raise UsageError(f"input {spec.name!r}: {value!r} is not JSON: {problem}", remediation=_FORMS) from None
    if spec.dtype.name == "BYTES" and not isinstance(parsed, (str, list)):
        return _bytes_array(value)
    return _from_json(spec, parsed)


def _from_json(spec: TensorSpec, parsed: Any) -> Array:
    try:
        exact = np.array(parsed, dtype=object)
        if any(isinstance(each, list) for each in exact.ravel()):
            raise ValueError("rows of one level differ in length")
        if spec.dtype.name == "BYTES":
            return _bytes_array(exact)
        # as Python's integers: NumPy takes a list with values on both sides of 2**63 for floats
        if _target(spec).kind in "iu" and exact.size and all(isinstance(each, int) for each in exact.ravel()):
            return exact
        array: Array = np.array(parsed)
    except ValueError as problem:
        raise UsageError(f"input {spec.name!r}: the nested lists are ragged ({problem})") from None
    return array


def _bytes_array(value: Any) -> Array:
    array = np.array(value, dtype=object)
    flat = [each if isinstance(each, bytes) else str(each).encode() for each in array.ravel()]
    result = np.empty(len(flat), dtype=object)
    result[:] = flat
    return result.reshape(array.shape)


def _from_file(spec: TensorSpec, path: Path) -> Array:
    if not path.is_file():
        raise UsageError(f"input {spec.name!r}: there is no file {path}")
    kind = path.suffix.lower()
    if kind == ".npy":
        try:
            array: Array = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as problem:
            raise UsageError(f"input {spec.name!r}: {path} is no .npy file that can be read: {problem}") from None
        if spec.dtype.name != "BYTES":
            return array
        # strings are saved as fixed-width text or bytes: NumPy pickles object arrays, and a pickle is a program
        return _bytes_array(array.astype(object))
    if spec.dtype.name == "BYTES" and kind != ".json":
        return _bytes_array(path.read_bytes())
    if kind in IMAGES:
        return _image(spec, path)
    try:
        return _from_json(spec, json.loads(path.read_text()))
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise UsageError(
            f"input {spec.name!r} is {spec.dtype}, and {path} is neither .npy, an image nor JSON: {problem}",
            remediation=_FORMS,
        ) from None


def _image(spec: TensorSpec, path: Path) -> Array:
    """RGB, or grey where the input has one channel; height x width x channels, unless its dims start with them."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingPart("Pillow is not installed: it reads images", remediation="pip install pillow") from None
    channels_first = len(spec.dims) == 3 and spec.dims[0] in (1, 3) and spec.dims[2] not in (1, 3)
    channels = spec.dims[0] if channels_first else spec.dims[-1] if spec.dims else 3
    try:
        with Image.open(path) as image:
            pixels: Array = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except (UnidentifiedImageError, OSError) as problem:
        raise UsageError(f"input {spec.name!r}: {path} is no image that can be read: {problem}") from None
    if pixels.ndim == 2 and len(spec.dims) == 3:
        pixels = pixels[:, :, np.newaxis]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if channels_first else pixels


def _target(spec: TensorSpec) -> np.dtype[Any]:
    return np.dtype(np.float32) if spec.dtype.name == "BF16" else spec.dtype.numpy


def _convert(spec: TensorSpec, array: Array) -> Array:
    target = _target(spec)
    if array.dtype == target:
        return array
    if array.size == 0:
        return array.astype(target)
    if array.dtype.kind not in "biuf" and not (array.dtype == object and target.kind in "iu"):
        raise UsageError(f"input {spec.name!r} is {spec.dtype}, but the values are {array.dtype}")
    if array.dtype.kind == "f" and target.kind != "f":
        raise UsageError(f"input {spec.name!r} is {spec.dtype}, but the values are {array.dtype}")
    if target.kind in "iu":
        range_ = np.iinfo(target)
        low, high = int(array.min()), int(array.max())
        if low < range_.min or high > range_.max:
            raise UsageError(f"input {spec.name!r} is {spec.dtype}, but the values go from {low} to {high}")
    if target.kind == "b" and array.dtype.kind != "b" and not np.isin(array, (0, 1)).all():
        raise UsageError(f"input {spec.name!r} is BOOL: use true, false, 0 or 1")
    with np.errstate(over="ignore"):
        return array.astype(target)


def _fit(spec: TensorSpec, array: Array, *, batches: bool) -> Array:
    rank = len(spec.dims)
    if array.ndim == 0 and rank > 0:
        array = array.reshape((1,) * rank)
    if batches and array.ndim == rank:
        array = array[np.newaxis]
    if array.ndim != rank + batches:
        wanted = shape_text(([-1] if batches else []) + list(spec.dims))
        raise UsageError(f"input {spec.name!r} has shape {shape_text(array.shape)}, the model wants {wanted}")
    return array


def shape_text(shape: Sequence[int]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"


def summary(array: Array) -> str:
    """A tensor's values in one or a few lines; long ones are shortened in the middle."""
    if array.dtype == object:
        return _strings(array)
    return np.array2string(
        array, threshold=SHOWN_ELEMENTS, edgeitems=3, precision=6, separator=", ", max_line_width=110
    )


def _strings(array: Array) -> str:
    flat = [text(each) for each in array.ravel()]
    shown = [json.dumps(each, ensure_ascii=False) for each in flat[:SHOWN_ELEMENTS]]
    more = f", … {len(flat) - SHOWN_ELEMENTS} more" if len(flat) > SHOWN_ELEMENTS else ""
    return "[" + ", ".join(shown) + more + "]"


def text(element: object) -> str:
    return element.decode(errors="replace") if isinstance(element, bytes) else str(element)


def to_json(array: Array) -> list[Any]:
    """Row-major values, flat, as the KServe protocol has them; NaN and infinities are strings, JSON has none."""
    if array.dtype == object:
        return [text(each) for each in array.ravel()]
    values: list[Any] = array.ravel().tolist()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [each if np.isfinite(each) else str(each) for each in values]
    return values


def save(array: Array, path: Path) -> None:
    """Write a `.npy` file; BYTES become fixed-width bytes (NumPy would pickle objects)."""
    # a fixed-width array drops trailing NULs, so they would not come back
    if array.dtype == object and any(each.endswith(b"\0") for each in array.ravel()):
        raise UsageError(f"an element ends in a NUL byte, which {path} cannot hold", remediation="Use --json.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.save(file, array.astype("S") if array.dtype == object else array, allow_pickle=False)
