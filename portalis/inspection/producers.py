"""What a module's file says of its making."""

from __future__ import annotations

from pathlib import Path

from ..backend.wasm.binary import read_module
from ..backend.wasm.producers import MAX_BYTES, MAX_TEXT, MAX_VALUES, SECTION, Producer, of_module, read

__all__ = ["MAX_BYTES", "MAX_TEXT", "MAX_VALUES", "SECTION", "Producer", "producers", "read"]


def producers(path: Path) -> tuple[Producer, ...]:
    """What the file at `path` says of its making, in the order of the section. Raises ModuleError for no module."""
    return of_module(read_module(path))
