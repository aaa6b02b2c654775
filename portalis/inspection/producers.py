"""What a module's file says of its making."""

from __future__ import annotations

from pathlib import Path

from ..backend.wasm.binary import read_module
from ..backend.wasm.producers import Producer, module_producers

__all__ = ["Producer", "producers"]


def producers(path: Path) -> tuple[Producer, ...]:
    """What the file at `path` says of its making, in the order of the section. Raises ModuleError for no module."""
    return module_producers(read_module(path))
