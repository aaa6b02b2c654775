"""Checks a module against a Triton configuration with the backend's own code, before a server loads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .backend import Interface, Limits, WasmError
from .backend.compile.loadable import check_loadable, load_problems
from .backend.compile.loading import read_source
from .backend.interface.discovery import discover
from .backend.setting_names import INFER_NAMES, SPEC_NAMES
from .backend.triton.config import batches_freely, check_engine, model_interface
from .backend.triton.model_parameters import parse_parameters
from .backend.wasm.binary import read_module
from .inspection import Finding, Inspection

INTERFACE_KEYS = ("wasm.entry", "wasm.convention", "wasm.signature", "wasm.args", "wasm.returns")
"""The backend's parameters that declare parts of a module's interface."""


def module_interface(module: Path, limits: Limits) -> Interface:
    """The interface of `module` in the runtime, without compilation.

    Raises WasmError, also if the runtime would not load the module under `limits`.
    """
    info = read_module(read_source(module, limits, INFER_NAMES), str(module))
    interface = discover(info, None, where=str(module), setting_names=INFER_NAMES)
    check_loadable(info, interface, limits, where=str(module), setting_names=INFER_NAMES)
    return interface


def interface_with_parameters(
    module: Path, declared: Mapping[str, Any], parameters: Mapping[str, str]
) -> tuple[Interface | None, str | None]:
    """The interface of `module` with `declared` keys (as in the ``portalis`` section), overridden by `parameters`; or
    None and the reason."""
    try:
        overrides = parse_parameters(parameters).declared
        return discover(
            read_module(module), {**declared, **overrides}, where=str(module), setting_names=SPEC_NAMES
        ), None
    except WasmError as error:
        return None, str(error)


def load_findings(
    module: Path, inspection: Inspection, interface: Interface | None, parameters: Mapping[str, str]
) -> list[Finding]:
    """All findings that prevent the runtime from loading `module` with the backend's `parameters`: violated limits, and
    results of the inspection."""
    try:
        limits = parse_parameters(parameters).limits
    except WasmError:
        limits = Limits()  # `config_problem` reports invalid parameters
    found = load_problems(read_module(module), interface, limits)
    known = [each.proposal for each in found]
    found += [each for each in inspection.unloadable if each.proposal and each.proposal not in known]
    return [Finding.from_problem(each, "spec") for each in found]


def config_problem(module: Path, config: Mapping[str, Any]) -> str | None:
    """The reason why the backend would not load `module` with `config`, or None.

    Found without compilation: mismatched tensors, an unknown ``wasm.`` parameter, a memory that exceeds its limit.

    `config` is Triton's complete ``ModelConfig`` as a dictionary with the keys of the message. A value that the server
    would change is a problem too.
    """
    try:
        settings = parse_parameters(config.get("parameters") or {})
        info = read_module(read_source(module, settings.limits, SPEC_NAMES), module.name)
        interface = model_interface(info, config, settings, module.name, SPEC_NAMES)
        check_loadable(info, interface, settings.limits, where=module.name, setting_names=SPEC_NAMES)
        check_engine(settings, interface, config)
    except WasmError as error:
        return str(error)
    most = interface.max_batch_size
    if most and not config.get("max_batch_size") and not batches_freely(interface):
        return f"max_batch_size is 0, and the module's tensors have a batch dimension: set 1 to {most}"
    return None
