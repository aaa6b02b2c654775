"""What the rules know besides the configuration."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

ENSEMBLE = "ensemble"
PYTHON_BASED = ("python", "wasm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The model's `folder`, where it is there; whether the server may complete tensors (`auto_complete`, Triton's
    default, for which the backend has to know them); the `backends` of the server, where they are known."""

    folder: Path | None = None
    auto_complete: bool = False
    backends: Collection[str] | None = None
