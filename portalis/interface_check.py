"""What a module is under a Triton configuration, and whether it fits it, as the backend itself will see it at load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .backend import Interface, WasmError
from .backend.binary import read_module
from .backend.discovery import discover
from .backend.limits import Limits
from .backend.loading import read_source
from .backend.model_config import batches_freely, interface_of
from .backend.settings import parse

INTERFACE_KEYS = ("wasm.entry", "wasm.convention", "wasm.signature", "wasm.args", "wasm.returns")
"""The backend's parameters that say something of the module's interface."""


def own_interface(module: Path) -> Interface:
    """The interface of `module` as the runtime will see it, without compiling. Raises WasmError."""
    return discover(read_module(read_source(module, Limits()), str(module)), None, where=str(module))


def interface_under(
    module: Path, declared: Mapping[str, Any], parameters: Mapping[str, str]
) -> tuple[Interface | None, str | None]:
    """The interface of `module` with what `declared` (keys as in the ``portalis`` section) and then `parameters` say
    of it; else None and why."""
    try:
        said = parse(parameters).declared
        return discover(read_module(module), {**declared, **said}, where=str(module)), None
    except WasmError as error:
        return None, str(error)


def trouble_under(module: Path, config: Mapping[str, Any]) -> str | None:
    """Everything in which `module` does not fit `config`, an unknown ``wasm.`` parameter included; None where it fits.

    `config` is Triton's ``ModelConfig`` as a dictionary with the message's own keys, and complete: what the server
    would change in it is trouble, too.
    """
    try:
        interface = interface_of(read_module(module), config, parse(config.get("parameters") or {}), module.name)
    except WasmError as error:
        return str(error)
    most = interface.max_batch_size
    if most and not config.get("max_batch_size") and not batches_freely(interface):
        return f"max_batch_size is 0, and the module's tensors have a batch dimension: set 1 to {most}"
    return None
