"""Formats of image inputs: the order of their dimensions, which clients of images read from a model's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .runtime_api import Interface, SettingsError

_RANK = 3


def check_formats(formats: Mapping[str, str], interface: Interface) -> None:
    """Raises SettingsError for an input that `interface` does not have, and for one without three dimensions."""
    ranks = {spec.name: len(spec.dims) for spec in interface.inputs}
    for name in formats:
        if name not in ranks:
            raise SettingsError(f"formats: input {name[:128]!r} does not exist; the inputs are {', '.join(ranks)}")
        if ranks[name] != _RANK:
            raise SettingsError(f"formats: input {name[:128]!r} has {ranks[name]} dims; an image has {_RANK}")


def add_formats(formats: Mapping[str, str], config: Any) -> None:
    """Set the format of the inputs of `config`, a ``ModelConfig``."""
    for tensor in config.input:
        if tensor.name in formats:
            tensor.format = tensor.Format.Value(f"FORMAT_{formats[tensor.name]}")
