"""Tensors' data in files: how many bytes they take, and whether a file has them."""

from __future__ import annotations

from pathlib import Path

from ...backend.facts import DATA_TYPES
from ..problem import Problems, error

_SIZES = {f"TYPE_{row.name}": row.size for row in DATA_TYPES.values() if row.size}
_LENGTH = 4  # bytes of the little-endian length before each element of a TYPE_STRING


def bytes_of(data_type: str, count: int) -> int | None:
    """The bytes of `count` elements; None for TYPE_STRING, where Triton takes the file as it is."""
    size = _SIZES.get(data_type)
    return None if size is None else size * count


def too_short(path: Path, wanted: int | None, where: str) -> Problems:
    """The problem of a file with less than the `wanted` bytes; Triton ignores what a file has beyond them."""
    have = path.stat().st_size
    if wanted is not None and have < wanted:
        said = f"{path.name} has {have} bytes, and the tensor takes {wanted}"
        yield error(where, said, "Give it the data of one whole tensor, little-endian, in C order, without the batch.")


def string_elements(path: Path) -> int | None:
    """How many elements of TYPE_STRING a file holds in Triton's serialisation; None when it does not end with one."""
    data, position, count = path.read_bytes(), 0, 0
    while position + _LENGTH <= len(data):
        position += _LENGTH + int.from_bytes(data[position : position + _LENGTH], "little")
        count += 1
    return count if position == len(data) else None
