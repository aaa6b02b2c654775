"""Whether a module fits a Triton configuration, as the backend itself will see it at load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .backend import WasmError
from .backend.binary import read_module
from .backend.model_config import interface_of
from .backend.settings import parse


def trouble_under(module: Path, config: Mapping[str, Any]) -> str | None:
    """Everything in which `module` does not fit `config`, an unknown ``wasm.`` parameter included; None where it fits.

    `config` is Triton's ``ModelConfig`` as a dictionary with the message's own keys.
    """
    try:
        interface_of(read_module(module), config, parse(config.get("parameters") or {}), module.name)
    except WasmError as error:
        return str(error)
    return None
