"""Derives a module's interface from a declaration, its ``portalis`` section and its export types, in this order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import InterfaceError
from ..messages import quoted_name
from ..setting_names import TRITON_NAMES, SettingNames
from ..wasm.binary import Export, FuncType, ModuleInfo
from ..wasm.producers import export_advice
from .checks import COMMAND, DEFAULT_MAX_BATCH, check_interface, describe_exports, find_entry
from .interface import Interface

INTERFACE_SECTION = "portalis"
MAX_SECTION_BYTES = 8 << 20
_RESERVED = {"_start", "_initialize", "malloc", "free", "realloc", "calloc", "memory", "abort"}
_PREFIXES = ("__", "portalis_", "cabi_")
_NUMBERS = {"f32": "FP32", "f64": "FP64", "i32": "INT32", "i64": "INT64"}


def discover(
    info: ModuleInfo,
    declared: Mapping[str, Any] | None = None,
    *,
    where: str,
    setting_names: SettingNames = TRITON_NAMES,
) -> Interface:
    """The interface of `info`, checked against its exports. Each key of `declared` overrides the module's own.

    Raises InterfaceError with the missing declarations and the module's exports; settings are named as in
    `setting_names`.
    """
    overrides = {key: value for key, value in (declared or {}).items() if value is not None}
    described = parse_section(info, where)
    base, source = _base_interface(info, described, overrides, where, setting_names)
    interface = Interface.from_json({**base, **overrides}, where=where, source="explicit" if overrides else source)
    check_interface(info, interface, where=where, setting_names=setting_names)
    return interface


def parse_section(info: ModuleInfo, where: str) -> list[dict[str, Any]]:
    """The entries in the ``portalis`` section: concatenated JSON objects, because linkers concatenate sections."""
    size = sum(size for name, size in info.custom_sections if name == INTERFACE_SECTION)
    if size > MAX_SECTION_BYTES:
        raise InterfaceError(
            f"{where}: the custom section '{INTERFACE_SECTION}' has {size:,} bytes; at most {MAX_SECTION_BYTES:,} are"
            " read"
        )
    text = info.custom(INTERFACE_SECTION).decode("utf-8", "replace")
    decoder, at = json.JSONDecoder(), 0
    entries: list[dict[str, Any]] = []
    while True:
        while at < len(text) and text[at] in " \t\r\n\0":
            at += 1
        if at >= len(text):
            return entries
        try:
            entry, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:  # ValueError also for a number of thousands of digits
            raise InterfaceError(f"{where}: the custom section '{INTERFACE_SECTION}' is not JSON: {error}") from None
        if not isinstance(entry, dict):
            raise InterfaceError(
                f"{where}: the custom section '{INTERFACE_SECTION}' must contain JSON objects, not {entry!r}"
            )
        entries.append(entry)


def _base_interface(
    info: ModuleInfo,
    described: list[dict[str, Any]],
    declared: dict[str, Any],
    where: str,
    setting_names: SettingNames,
) -> tuple[dict[str, Any], str]:
    entry = declared.get("entry")
    if described:
        names = [str(d.get("entry", "portalis_infer")) for d in described]
        if entry is None and len(described) == 1:
            return described[0], "section"
        if entry in names:
            return described[names.index(entry)], "section"
        if entry is None:
            listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
            raise InterfaceError(f"{where} has several entries ({listed}): choose one with {setting_names.entry}")
    if "inputs" in declared and "outputs" in declared and ("convention" in declared or info.export("portalis_abi_v1")):
        convention = declared.get("convention", "dlpack")
        name = "_start" if convention == "command" else "portalis_infer"
        if entry is None and convention in ("elementwise", "gufunc"):
            name = _single_entry(info, entry_candidates(info), where, setting_names).name
        return {"convention": convention, "entry": name}, "explicit"
    return _from_exports(info, declared, where, setting_names), "exports"


def entry_candidates(info: ModuleInfo) -> list[Export]:
    """The exported functions that can be an entry."""
    return [
        e for e in info.exports if e.kind == "func" and e.name not in _RESERVED and not e.name.startswith(_PREFIXES)
    ]


def _single_entry(info: ModuleInfo, found: list[Export], where: str, setting_names: SettingNames) -> Export:
    """The single function of `found`. Raises InterfaceError if it is empty or has several."""
    if len(found) == 1:
        return found[0]
    functions = f"{len(found)} functions" if found else "no function"
    advice = f"choose one with {setting_names.entry}" if found else export_advice(info)
    raise InterfaceError(f"{where} exports {functions} that could be the entry: {advice}. {describe_exports(info)}")


def _from_exports(
    info: ModuleInfo, declared: dict[str, Any], where: str, setting_names: SettingNames
) -> dict[str, Any]:
    convention = declared.get("convention")
    if info.export("portalis_abi_v1") and convention in (None, "dlpack"):
        raise InterfaceError(
            f"{where} is a dlpack guest that does not declare its tensors: {setting_names.declare}."
            f" {describe_exports(info)}"
        )
    found = [find_entry(info, declared["entry"], where)] if "entry" in declared else entry_candidates(info)
    if convention == "command" or (info.export("_start") and convention is None and "entry" not in declared):
        return dict(COMMAND)
    if convention in ("gufunc", "dlpack"):
        raise InterfaceError(
            f"{where}: the {convention} convention needs inputs and outputs (and a signature such as (n)->(n) for a"
            f" gufunc): {setting_names.declare}. {describe_exports(info)}"
        )
    return _elementwise(info, _single_entry(info, found, where, setting_names), convention, where, setting_names)


def _elementwise(
    info: ModuleInfo, export: Export, convention: str | None, where: str, setting_names: SettingNames
) -> dict[str, Any]:
    kind = export.type
    assert isinstance(kind, FuncType)
    numbers = bool(kind.params and kind.results) and set(kind.params) | set(kind.results) <= set(_NUMBERS)
    # In a module with a memory an integer can be a pointer: elementwise calls would return wrong results silently.
    pointers = info.export("memory") is not None and bool({"i32", "i64"} & set(kind.params))
    if not numbers or (pointers and convention != "elementwise"):
        reason = "may take pointers" if numbers else "does not take and return numbers"
        raise InterfaceError(
            f"{where}: the entry '{quoted_name(export.name)}'{kind} {reason}, so its interface cannot be derived."
            f" {setting_names.pointers}. {describe_exports(info)}"
        )
    names = info.parameter_names(export.index) or tuple(f"x{i}" for i in range(len(kind.params)))
    outputs = ["y"] if len(kind.results) == 1 else [f"y{i}" for i in range(len(kind.results))]
    if set(names) & set(outputs):
        outputs = [f"output_{name}" for name in outputs]
    return {
        "convention": "elementwise",
        "entry": export.name,
        "max_batch_size": DEFAULT_MAX_BATCH,
        "inputs": [{"name": n, "dtype": _NUMBERS[t], "dims": [-1]} for n, t in zip(names, kind.params)],
        "outputs": [{"name": n, "dtype": _NUMBERS[t], "dims": [-1]} for n, t in zip(outputs, kind.results)],
    }
