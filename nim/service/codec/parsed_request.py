"""A decoded inference request: its input arrays, the requested outputs, and its parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..runtime_api import TensorSpec


@dataclass(frozen=True, slots=True)
class OutputRequest:
    """A requested output, and the form in which the client receives it."""

    spec: TensorSpec
    binary: bool = False
    """As raw bytes."""
    classes: int = 0
    """Number of classes in place of the tensor: those with the highest values. 0 requests the tensor itself."""

    @property
    def name(self) -> str:
        """The name of the output."""
        return self.spec.name


@dataclass(frozen=True)
class ParsedRequest:
    """An inference request, decoded."""

    id: str | None
    inputs: dict[str, np.ndarray]
    """The input arrays by name."""
    outputs: list[OutputRequest]
    timeout_s: float | None = None
    """Seconds that the whole request may take, queueing included."""
    guest_timeout_s: float | None = None
    """Seconds that the module may compute."""
    body_bytes: int = 0
    """Size of the HTTP body after decompression, in bytes."""
    on_compute: Callable[[float], None] | None = None
    """Called with the seconds for which each module ran for the request."""

    @property
    def has_classes(self) -> bool:
        """Whether an output is requested as classes."""
        return any(output.classes for output in self.outputs)
