"""Paths in a spec: finds all of them, and makes them absolute from the directory of the spec file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from .base import Structure
from .loc import Loc

StructureT = TypeVar("StructureT", bound=Structure)


def make_absolute(structure: StructureT, base: Path) -> StructureT:
    """`structure` with every `Path` made absolute from `base` (not a `PurePath`, which is inside the output)."""
    changed = {}
    for key in type(structure).model_fields:
        value = getattr(structure, key)
        moved = _absolute(value, base)
        if moved is not value:
            changed[key] = moved
    return structure.model_copy(update=changed) if changed else structure


def _absolute(value: Any, base: Path) -> Any:
    if isinstance(value, Path):
        return resolve_path(value, base)
    if isinstance(value, Structure):
        return make_absolute(value, base)
    if isinstance(value, tuple):
        moved = tuple(_absolute(each, base) for each in value)
        return moved if any(a is not b for a, b in zip(moved, value)) else value
    if isinstance(value, dict):
        table = {key: _absolute(each, base) for key, each in value.items()}
        return table if any(table[key] is not value[key] for key in table) else value
    return value


def resolve_path(path: Path, base: Path) -> Path:
    """`path` as an absolute path without dots, resolved as the operating system does from the directory `base`."""
    full = base.absolute() / path
    if ".." not in full.parts:
        return full
    # `link/..` is not the directory of the link, so links before dots are followed
    return Path(os.path.realpath(full)) if full.name == ".." else Path(os.path.realpath(full.parent)) / full.name


def iter_paths(value: Any, loc: Loc = ()) -> Iterator[tuple[Loc, Path]]:
    """Every `Path` in `value`, with its location."""
    if isinstance(value, Path):
        yield loc, value
    elif isinstance(value, Structure):
        for key in type(value).model_fields:
            yield from iter_paths(getattr(value, key), (*loc, key))
    elif isinstance(value, tuple):
        for i, each in enumerate(value):
            yield from iter_paths(each, (*loc, i))
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from iter_paths(each, (*loc, key))
