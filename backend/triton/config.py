"""Between Triton's model configuration and a module's interface: completes the one, checks one against the other."""

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
    """A model as its configuration and its module describe it."""

    path: Path
    wasm: bytes
    """The file as it was when it was checked: what is compiled must be that."""
    info: ModuleInfo
    settings: ModelParameters
    interface: Interface


def read_model(config: Config, version_folder: Path) -> ConfiguredModel:
    """The model in `version_folder` under `config`, its interface found and checked. Raises WasmError, also where the
    module cannot be loaded, as far as that is seen without compiling it."""
    settings = parse_parameters(config.get("parameters") or {})
    # a model of the backend `python` names the script there, and Triton fills it in: that is what runs this
    named = None if config.get("backend") == "python" else config.get("default_model_filename")
    path = version_folder / (named or DEFAULT_FILE)
    if not path.exists():
        near = sorted(p.name for p in version_folder.glob("*.wasm"))
        hint = f"; there is {', '.join(near)} (rename it, or set default_model_filename)" if near else ""
        raise ModuleError(f"{path} is missing{hint}")
    wasm = read_source(path, settings.limits)
    info = read_module(wasm, str(path))
    interface = model_interface(info, config, settings, str(path))
    check_loadable(info, interface, settings.limits, where=str(path))
    check_engine(settings, interface, config)
    return ConfiguredModel(path, wasm, info, settings, interface)


def check_engine(settings: ModelParameters, interface: Interface, config: Config) -> None:
    """Raise SettingsError where a model under `config` insists on the native executor, which runs none like it."""
    why = native_obstacle(interface, settings.threads)
    if config.get("backend") == "python":
        why = "the backend is python, which brings its own"
    if why is not None and settings.engine is Engine.NATIVE:
        raise SettingsError(native_required_error(why))


def model_interface(
    info: ModuleInfo, config: Config, settings: ModelParameters, where: str, setting_names: SettingNames = TRITON_NAMES
) -> Interface:
    """The interface of a module under `config`. Where the module does not describe itself, the configuration does."""
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
    """Triton's tensor descriptions as the interface's; [] where one is incomplete (auto-complete will fill it)."""
    if not all(i.get("name") and i.get("data_type", "TYPE_INVALID") != "TYPE_INVALID" for i in items):
        return []
    return [
        {"name": i["name"], "dtype": i["data_type"], "dims": _model_dims(i)}
        | ({"optional": True} if i.get("optional") else {})
        for i in items
    ]


def _model_dims(item: Mapping[str, Any]) -> list[int]:
    """The dims of a tensor as the model gets it: a reshape stands between the client's and these."""
    reshape = item.get("reshape")
    return [int(d) for d in (item.get("dims") if reshape is None else reshape.get("shape")) or ()]


def controls(config: Config) -> list[dict[str, Any]]:
    """The tensors by which the sequence batcher tells a model of its sequence: inputs that no client sends."""
    found = {}
    for item in (config.get("sequence_batching") or {}).get("control_input") or []:
        for control in item.get("control") or []:  # several controls in one tensor have one data type
            flags = {"fp32_false_true": "TYPE_FP32", "bool_false_true": "TYPE_BOOL"}
            given = control.get("data_type", "TYPE_INVALID")
            data_type = next((name for key, name in flags.items() if control.get(key)), "TYPE_INT32")
            data_type = data_type if given == "TYPE_INVALID" else given
            found[item.get("name")] = {"name": item.get("name"), "data_type": data_type, "dims": [1]}
    return list(found.values())


def batches_freely(interface: Interface) -> bool:
    """Whether leading dimensions mean nothing to the guest, so that any maximum batch size will do."""
    return interface.convention in (Convention.ELEMENTWISE, Convention.GUFUNC)


def check_config(interface: Interface, config: Config, where: str) -> None:
    """Raise InterfaceError listing what in `config` contradicts the module."""
    problems = []
    sides = (("input", interface.inputs), ("output", interface.outputs))
    for side, specs in sides:
        known = {spec.name: spec for spec in specs}
        items = list(config.get(side) or [])
        told = controls(config) if side == "input" else []
        for item in items + told:
            problems += _check_tensor(side, item, known)
        if side == "input" and items:
            given = {item.get("name") for item in items + told}
            problems += [
                f"input '{s.name}' of the module is missing in config.pbtxt"
                for s in specs
                if s.name not in given and not s.optional
            ]
    wanted, most = int(config.get("max_batch_size") or 0), interface.max_batch_size
    if wanted and not batches_freely(interface):
        if not most:
            problems.append(
                f"max_batch_size is {wanted}, but the module's tensors have no batch dimension: set it to 0"
            )
        elif wanted > most:
            problems.append(f"max_batch_size is {wanted}, but the module takes batches of at most {most}")
    if problems:
        raise InterfaceError(f"{where}: config.pbtxt does not fit the module: {'; '.join(problems)}")


def _check_tensor(side: str, item: Mapping[str, Any], known: dict[str, TensorSpec]) -> list[str]:
    name = str(item.get("name", ""))
    spec = known.get(name)
    if spec is None:
        near = difflib.get_close_matches(name, known, 1)
        hint = f" (did you mean '{near[0]}'?)" if near else f" ({', '.join(known)})"
        return [f"the module has no {side} '{name}'{hint}"]
    problems = []
    dtype = item.get("data_type", "TYPE_INVALID")
    if dtype not in ("TYPE_INVALID", spec.dtype.triton):
        problems.append(f"{side} '{name}' is {dtype}, but the module has {spec.dtype.triton}")
    dims, wanted = _model_dims(item), triton_dims(spec)
    if dims and (len(dims) != len(wanted) or any(-1 not in (a, b) and a != b for a, b in zip(dims, wanted))):
        problems.append(f"{side} '{name}' has dims {dims}, but the module has {wanted}")
    return problems


def complete_config(interface: Interface, config: Config, target: Any) -> None:
    """Fill what `config` leaves open: `target` is Triton's ``ModelConfig`` with its set and add methods."""
    # `config` may be the dictionary behind `target`: look before adding.
    told = {item["name"] for item in controls(config)}
    undecided = not config.get("max_batch_size") and (not config.get("input") or not batches_freely(interface))
    for side, specs, add in (
        ("input", interface.inputs, target.add_input),
        ("output", interface.outputs, target.add_output),
    ):
        given = {item.get("name"): item for item in config.get(side) or []}
        for spec in specs:
            if spec.name in told and side == "input":
                continue  # Triton sends it by itself
            earlier = given.get(spec.name, {})
            if not earlier.get("dims") or earlier.get("data_type") == "TYPE_INVALID":
                # what the user wrote is more exact than the module, or equal
                dims = earlier.get("dims") or triton_dims(spec)
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
    """The dims of a tensor in Triton, which has none without dimensions: a scalar is a vector of one there."""
    return list(spec.dims) or [1]
