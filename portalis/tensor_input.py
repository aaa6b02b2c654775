"""Parses inputs on the command line: ``x=[1,2,3]``, ``image=@photo.jpg``, ``text=@letter.txt``.

BF16 tensors are float32 arrays here; the sender converts them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .backend.interface import json_data
from .backend.interface.dtypes import DTYPES, bf16_to_f32
from .backend.interface.interface import TensorSpec
from .backend.interface.json_data import describe_json_value
from .errors import MissingPart, UsageError

Array = npt.NDArray[Any]
_IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def split_assignment(text: str, *, option: str, may_be_empty: bool = False) -> tuple[str, str]:
    """Name and value of ``name=value``; the value can contain more equals signs. Raises UsageError."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not (value or may_be_empty):
        forms = _FORMS if option == "--input" else ""
        raise UsageError(f"{option}: expected NAME=VALUE, got {text!r}", remediation=forms)
    return name.strip(), value


_FORMS = "VALUE is JSON ('[1,2,3]'), text, or a file: @x.npy, @x.json, @photo.jpg, @letter.txt."


def read_tensor(spec: TensorSpec, value: str, *, batches: bool) -> Array:
    """The array of `value` for the input `spec`, with a batch dimension if the model `batches`.

    Raises UsageError for a missing file, a different data type or a different rank.
    """
    if value.startswith("@"):
        array = _from_file(spec, Path(value[1:]))
    elif spec.dtype.name == "BYTES":
        array = _text_or_json(spec, value.encode("utf-8", "surrogateescape"))
    else:
        array = _from_json(spec, _parse_json(spec, value, repr(value)))
    return _fit(spec, array, batches=batches)


def _parse_json(spec: TensorSpec, text: str | bytes, where: str) -> Any:
    """The value of a JSON document. Raises UsageError if it is invalid."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UsageError(
            f"input {spec.name!r} is {spec.dtype}, and {where} is not JSON: {why}", remediation=_FORMS
        ) from None


def _text_or_json(spec: TensorSpec, data: bytes) -> Array:
    """BYTES from `data`: a JSON string, list of strings or tensor, or else one element with `data` unchanged."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        return _elements([data])
    if type(parsed) in (str, list) or _is_tensor(parsed):
        return _from_json(spec, parsed)
    return _elements([data])


def _elements(values: Sequence[bytes]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array if len(values) != 1 else array.reshape(())


def _is_tensor(parsed: Any) -> bool:
    """Whether a value is output of `portalis infer --json`: one tensor, or a whole response."""
    return type(parsed) is dict and (
        {"datatype", "shape", "data"} <= set(parsed) or {"model", "outputs"} <= set(parsed)
    )


def _from_json(spec: TensorSpec, parsed: Any) -> Array:
    where = f"input {spec.name!r}"
    encoding, shape = None, None
    if type(parsed) is dict:
        tensor = _tensor(spec, parsed)
        encoding, shape, parsed = tensor.get("encoding"), tensor["shape"], tensor["data"]
    flat, nested = _flat(where, parsed)
    if shape is not None and math.prod(shape) != len(flat):
        raise UsageError(f"{where}: shape {shape_text(shape)} has {math.prod(shape)} elements, data has {len(flat)}")
    try:
        array = json_data.decode_elements(spec.dtype, flat, encoding).reshape(nested if shape is None else shape)
    except ValueError as error:
        raise UsageError(f"{where} ({spec.dtype}): {error}", remediation=_FORMS) from None
    return bf16_to_f32(array) if spec.dtype.name == "BF16" else array


def _tensor(spec: TensorSpec, parsed: dict[str, Any]) -> dict[str, Any]:
    """Shape, data and encoding of a tensor as printed by `--json`, or of the tensor for `spec` in a response."""
    where = f"input {spec.name!r}"
    outputs = parsed.get("outputs")
    if isinstance(outputs, list) and all(isinstance(each, dict) for each in outputs):
        fitting = [each for each in outputs if len(outputs) == 1 or each.get("name") == spec.name]
        parsed = fitting[0] if fitting else parsed
    if not {"datatype", "shape", "data"} <= set(parsed):
        raise UsageError(
            f"{where} ({spec.dtype}): expected an object with datatype, shape and data", remediation=_FORMS
        )
    if parsed["datatype"] != spec.dtype.name:
        raise UsageError(f"{where} is {spec.dtype}, and the tensor is {describe_json_value(parsed['datatype'])}")
    shape, more = parsed["shape"], parsed.get("parameters")
    if type(shape) is not list or not all(type(size) is int and 0 <= size < 1 << 40 for size in shape):
        raise UsageError(f"{where}: expected a list of sizes as the tensor's shape")
    encoding = more.get("content_encoding") if type(more) is dict else None
    return {"shape": shape, "data": parsed["data"], "encoding": encoding}


def _flat(where: str, value: Any) -> tuple[list[Any], tuple[int, ...]]:
    """The elements of nested lists in row-major order, and their shape. Raises UsageError for ragged lists."""
    level: list[Any] = [value]
    shape: list[int] = []
    while level and all(type(each) is list for each in level):
        sizes = {len(each) for each in level}
        if len(sizes) > 1:
            break
        shape += sizes
        level = [element for row in level for element in row]
    if any(type(each) is list for each in level):
        raise UsageError(f"{where}: the nested lists are ragged (rows of one level differ in length)")
    return level, tuple(shape)


def _from_file(spec: TensorSpec, path: Path) -> Array:
    if not path.is_file():
        raise UsageError(f"input {spec.name!r}: the file {path} does not exist")
    kind = path.suffix.lower()
    if kind == ".npy":
        return _from_npy(spec, path)
    if spec.dtype.name == "BYTES":
        return _text_or_json(spec, path.read_bytes()) if kind == ".json" else _elements([path.read_bytes()])
    if kind in _IMAGES:
        return _convert(spec, _image(spec, path), path)
    return _from_json(spec, _parse_json(spec, path.read_bytes(), f"{path}, which is neither .npy nor an image,"))


def _from_npy(spec: TensorSpec, path: Path) -> Array:
    try:
        array: Array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UsageError(f"input {spec.name!r}: {path} is not a valid .npy file: {error}") from None
    if spec.dtype.name != "BYTES":
        return _convert(spec, array, path)
    # elements are saved as fixed-width text or bytes: NumPy would pickle an object array, and a pickle can run code
    if array.dtype.kind not in "SU":
        raise UsageError(f"input {spec.name!r} is BYTES, and {path} has {_type_name(array.dtype)}")
    flat = [each if isinstance(each, bytes) else each.encode() for each in array.ravel().tolist()]
    return _elements(flat).reshape(array.shape)


def _image(spec: TensorSpec, path: Path) -> Array:
    """The pixels of an image: RGB, or gray for an input with one channel; height x width x channels, or channels first
    if the input's dims begin with them."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingPart("Pillow, which reads images, is not installed", remediation="pip install pillow") from None
    channels_first = len(spec.dims) == 3 and spec.dims[0] in (1, 3) and spec.dims[2] not in (1, 3)
    channels = spec.dims[0] if channels_first else spec.dims[-1] if spec.dims else 3
    try:
        with Image.open(path) as image:
            pixels: Array = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise UsageError(f"input {spec.name!r}: {path} is not a readable image: {error}") from None
    if pixels.ndim == 2 and len(spec.dims) == 3:
        pixels = pixels[:, :, np.newaxis]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if channels_first else pixels


def _type_name(dtype: np.dtype[Any]) -> str:
    """Triton's name for a NumPy dtype."""
    if dtype.kind in "SU":
        return "BYTES"
    same = (each.name for each in DTYPES.values() if each.numpy == dtype.newbyteorder("=") and each.name != "BF16")
    return next(same, f"elements of NumPy's type {dtype.name}")


def _convert(spec: TensorSpec, array: Array, path: Path) -> Array:
    """An array of a file as the input's data type. Raises UsageError if an element would change, except by rounding."""
    target = np.dtype(np.float32) if spec.dtype.name == "BF16" else spec.dtype.numpy
    where = f"input {spec.name!r} is {spec.dtype}"
    if array.dtype == target:
        return array
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and target.kind != "f"):
        raise UsageError(f"{where}, and {path} has {_type_name(array.dtype)}")
    if array.size == 0:
        return array.astype(target)
    if target.kind in "iu":
        range_ = np.iinfo(target.name)
        low, high = int(array.min()), int(array.max())
        if low < range_.min or high > range_.max:
            raise UsageError(f"{where}, and the values of {path} range from {low} to {high}")
    if target.kind == "b" and array.dtype.kind != "b" and not np.isin(array, (0, 1)).all():
        raise UsageError(f"{where}: use true, false, 0 or 1")
    with np.errstate(over="ignore"):
        result = array.astype(target)
    if target.kind == "f" and array.dtype.kind == "f" and (np.isinf(result) & np.isfinite(array)).any():
        raise UsageError(f"{where}, and {path} has values that exceed its range")
    return result


def _fit(spec: TensorSpec, array: Array, *, batches: bool) -> Array:
    rank = len(spec.dims)
    if array.ndim == 0 and rank > 0:
        array = array.reshape((1,) * rank)
    if batches and array.ndim == rank:
        array = array[np.newaxis]
    if array.ndim != rank + batches:
        expected = shape_text(([-1] if batches else []) + list(spec.dims))
        raise UsageError(f"input {spec.name!r}: expected shape {expected}, got {shape_text(array.shape)}")
    return array


def shape_text(shape: Sequence[int]) -> str:
    """A shape for messages, for example ``[2, 3]``."""
    return "[" + ", ".join(str(size) for size in shape) + "]"
