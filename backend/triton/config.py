"""Triton model configurations: reads a model, checks its configuration against the module, and completes it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..compile.loadable import check_loadable
from ..compile.loading import read_source
from ..errors import InterfaceError, ModuleError, SettingsError
from ..interface.discovery import discover, parse_section
from ..interface.interface import Convention, Interface, TensorSpec
from ..setting_names import TRITON_NAMES, SettingNames
from ..wasm.binary import ModuleInfo, read_module
from .engine_selection import Engine, native_obstacle, native_required_error
from .model_parameters import ModelParameters, parse_parameters

Config = Mapping[str, Any]
DEFAULT_FILE = "model.wasm"


@dataclass(frozen=True)
class ConfiguredModel:
    """A model: its module, parameters and interface."""

    path: Path
    wasm: bytes
    """The bytes that were checked; exactly these must be compiled."""
    info: ModuleInfo
    settings: ModelParameters
    interface: Interface


def read_model(config: Config, version_folder: Path) -> ConfiguredModel:
    """The model in `version_folder` with `config`. Its interface is derived and checked.

    Raises WasmError, also for load problems that are found without compiling the module.
    """
    settings = parse_parameters(config.get("parameters") or {})
    # with the backend `python`, Triton sets default_model_filename to the script that runs this code
    filename = None if config.get("backend") == "python" else config.get("default_model_filename")
    path = version_folder / (filename or DEFAULT_FILE)
    if not path.exists():
        others = sorted(p.name for p in version_folder.glob("*.wasm"))
        hint = f"; the directory has {', '.join(others)} (rename it, or set default_model_filename)" if others else ""
        raise ModuleError(f"{path} is missing{hint}")
    wasm = read_source(path, settings.limits)
    info = read_module(wasm, str(path))
    interface = model_interface(info, config, settings, str(path))
    check_loadable(info, interface, settings.limits, where=str(path))
    check_engine(settings, interface, config)
    return ConfiguredModel(path, wasm, info, settings, interface)


def check_engine(settings: ModelParameters, interface: Interface, config: Config) -> None:
    """Raise SettingsError if the model requires the native executor, which cannot run it."""
    reason = native_obstacle(interface, settings.threads)
    if config.get("backend") == "python":
        reason = "the backend is python, which runs its own executor"
    if reason is not None and settings.engine is Engine.NATIVE:
        raise SettingsError(native_required_error(reason))


def model_interface(
    info: ModuleInfo, config: Config, settings: ModelParameters, where: str, setting_names: SettingNames = TRITON_NAMES
) -> Interface:
    """The interface of a module, derived from `config` if the module has no ``portalis`` section."""
    declared = dict(settings.declared)
    described = bool(parse_section(info, where))
    tensors = {side: _tensors(config.get(side) or []) for side in ("input", "output")}
    if not described and all(tensors.values()):
        declared["inputs"] = tensors["input"] + _tensors(controls(config))
        declared["outputs"] = tensors["output"]
        declared["max_batch_size"] = int(config.get("max_batch_size") or 0)
    interface = discover(info, declared, where=where, setting_names=setting_names)
    check_config(interface, config, where)
    return interface


def _tensors(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Triton's tensor descriptions as those of an interface; [] if one is incomplete (auto-complete will fill it)."""
    if not all(i.get("name") and i.get("data_type", "TYPE_INVALID") != "TYPE_INVALID" for i in items):
        return []
    return [
        {"name": i["name"], "dtype": i["data_type"], "dims": _model_dims(i)}
        | ({"optional": True} if i.get("optional") else {})
        for i in items
    ]


def _model_dims(item: Mapping[str, Any]) -> list[int]:
    """The dims of a tensor as the model receives it, after Triton's reshape."""
    reshape = item.get("reshape")
    return [int(d) for d in (item.get("dims") if reshape is None else reshape.get("shape")) or ()]


def controls(config: Config) -> list[dict[str, Any]]:
    """The control tensors that the sequence batcher adds to requests. Clients do not send them."""
    found = {}
    for item in (config.get("sequence_batching") or {}).get("control_input") or []:
        for control in item.get("control") or []:  # several controls in one tensor have one data type
            flags = {"fp32_false_true": "TYPE_FP32", "bool_false_true": "TYPE_BOOL"}
            declared = control.get("data_type", "TYPE_INVALID")
            data_type = next((name for key, name in flags.items() if control.get(key)), "TYPE_INT32")
            data_type = data_type if declared == "TYPE_INVALID" else declared
            found[item.get("name")] = {"name": item.get("name"), "data_type": data_type, "dims": [1]}
    return list(found.values())


def batches_freely(interface: Interface) -> bool:
    """Whether the guest ignores leading dimensions, so that any maximum batch size is valid."""
    return interface.convention in (Convention.ELEMENTWISE, Convention.GUFUNC)


def check_config(interface: Interface, config: Config, where: str) -> None:
    """Raise InterfaceError with all contradictions between `config` and the module."""
    problems = []
    sides = (("input", interface.inputs), ("output", interface.outputs))
    for side, specs in sides:
        known = {spec.name: spec for spec in specs}
        items = list(config.get(side) or [])
        control_inputs = controls(config) if side == "input" else []
        for item in items + control_inputs:
            problems += _check_tensor(side, item, known)
        if side == "input" and items:
            names = {item.get("name") for item in items + control_inputs}
            problems += [
                f"input '{s.name}' of the module is missing in config.pbtxt"
                for s in specs
                if s.name not in names and not s.optional
            ]
    size, maximum = int(config.get("max_batch_size") or 0), interface.max_batch_size
    if size and not batches_freely(interface):
        if not maximum:
            problems.append(f"max_batch_size is {size}, but the module's tensors have no batch dimension: set it to 0")
        elif size > maximum:
            problems.append(f"max_batch_size is {size}, but the module accepts batches of at most {maximum}")
    if problems:
        raise InterfaceError(f"{where}: config.pbtxt does not match the module: {'; '.join(problems)}")


def _check_tensor(side: str, item: Mapping[str, Any], known: dict[str, TensorSpec]) -> list[str]:
    name = str(item.get("name", ""))
    spec = known.get(name)
    if spec is None:
        similar = difflib.get_close_matches(name, known, 1)
        hint = f" (did you mean '{similar[0]}'?)" if similar else f" ({', '.join(known)})"
        return [f"the module has no {side} '{name}'{hint}"]
    problems = []
    dtype = item.get("data_type", "TYPE_INVALID")
    if dtype not in ("TYPE_INVALID", spec.dtype.triton):
        problems.append(f"{side} '{name}' is {dtype}, but the module has {spec.dtype.triton}")
    dims, expected = _model_dims(item), triton_dims(spec)
    if dims and (len(dims) != len(expected) or any(-1 not in (a, b) and a != b for a, b in zip(dims, expected))):
        problems.append(f"{side} '{name}' has dims {dims}, but the module has {expected}")
    return problems


def complete_config(interface: Interface, config: Config, target: Any) -> None:
    """Complete the missing parts of `config` in `target`, Triton's ``ModelConfig`` with its set and add methods."""
    # `config` can be the dictionary of `target`: read it before adding
    control_names = {item["name"] for item in controls(config)}
    undecided = not config.get("max_batch_size") and (not config.get("input") or not batches_freely(interface))
    for side, specs, add in (
        ("input", interface.inputs, target.add_input),
        ("output", interface.outputs, target.add_output),
    ):
        declared = {item.get("name"): item for item in config.get(side) or []}
        for spec in specs:
            if spec.name in control_names and side == "input":
                continue  # Triton adds it to requests
            item = declared.get(spec.name, {})
            if not item.get("dims") or item.get("data_type") == "TYPE_INVALID":
                # the user's dims are equal to the module's, or more specific
                dims = item.get("dims") or triton_dims(spec)
                item = {"name": spec.name, "data_type": spec.dtype.triton, "dims": dims}
                add(item | ({"optional": True} if spec.optional else {}))
    if undecided and interface.max_batch_size:
        target.set_max_batch_size(interface.max_batch_size)
    if (
        target.as_dict().get("max_batch_size")
        and "sequence_batching" not in config
        and "ensemble_scheduling" not in config
    ):
        target.set_dynamic_batching()


def triton_dims(spec: TensorSpec) -> list[int]:
    """The dims of a tensor in Triton, which does not support scalars: they are vectors of one element."""
    return list(spec.dims) or [1]
