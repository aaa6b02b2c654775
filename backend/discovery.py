"""Derives a module's interface: from what is declared, its ``portalis`` section and its export types, in this order."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from .binary import Export, FuncType, ModuleInfo
from .dtypes import BYTES
from .errors import InterfaceError
from .interface import Convention, Interface, Problems

SECTION = "portalis"
DEFAULT_MAX_BATCH = 64
_RESERVED = {"_start", "_initialize", "malloc", "free", "realloc", "calloc", "memory", "abort"}
_PREFIXES = ("__", "portalis_", "cabi_")
_NUMBERS = {"f32": "FP32", "f64": "FP64", "i32": "INT32", "i64": "INT64"}
_ABI = {
    "portalis_alloc": FuncType(("i32", "i32"), ("i32",)),
    "portalis_infer": FuncType(("i32",) * 4, ("i32",)),
    "portalis_reset": FuncType((), ()),
    "portalis_error": FuncType((), ("i32",)),
}
_COMMAND = {
    "convention": "command",
    "entry": "_start",
    "max_batch_size": DEFAULT_MAX_BATCH,
    "inputs": [
        {"name": "stdin", "dtype": "BYTES", "dims": [1]},
        {"name": "args", "dtype": "BYTES", "dims": [-1], "optional": True},
    ],
    "outputs": [
        {"name": "stdout", "dtype": "BYTES", "dims": [1]},
        {"name": "stderr", "dtype": "BYTES", "dims": [1]},
        {"name": "exit_code", "dtype": "INT32", "dims": [1]},
    ],
}


def discover(info: ModuleInfo, declared: Mapping[str, Any] | None = None, *, where: str) -> Interface:
    """The interface of `info`, checked against its exports. `declared` overrides key by key.

    Raises InterfaceError that says what to declare, with the module's exports.
    """
    wanted = {key: value for key, value in (declared or {}).items() if value is not None}
    described = read_section(info, where)
    base, source = _base(info, described, wanted, where)
    interface = Interface.from_json({**base, **wanted}, where=where, source="explicit" if wanted else source)
    check(info, interface, where=where)
    return interface


def read_section(info: ModuleInfo, where: str) -> list[dict[str, Any]]:
    """The entries in the ``portalis`` section: JSON objects one after the other, as linkers join them."""
    text = info.custom(SECTION).decode("utf-8", "replace")
    decoder, at = json.JSONDecoder(), 0
    entries: list[dict[str, Any]] = []
    while True:
        while at < len(text) and text[at] in " \t\r\n\0":
            at += 1
        if at >= len(text):
            return entries
        try:
            entry, at = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InterfaceError(f"{where}: the custom section '{SECTION}' is not JSON: {error}") from None
        if not isinstance(entry, dict):
            raise InterfaceError(f"{where}: the custom section '{SECTION}' must hold JSON objects, not {entry!r}")
        entries.append(entry)


def _base(
    info: ModuleInfo, described: list[dict[str, Any]], wanted: dict[str, Any], where: str
) -> tuple[dict[str, Any], str]:
    entry = wanted.get("entry")
    if described:
        names = [str(d.get("entry", "portalis_infer")) for d in described]
        if entry is None and len(described) == 1:
            return described[0], "section"
        if entry in names:
            return described[names.index(entry)], "section"
        if entry is None:
            raise InterfaceError(f"{where} has several entries ({', '.join(names)}): choose one with wasm.entry")
    if "inputs" in wanted and "outputs" in wanted and ("convention" in wanted or info.export("portalis_abi_v1")):
        guess = {"convention": "dlpack"} if "convention" not in wanted else {}
        return {**guess, "entry": _only_candidate(info, wanted, where)}, "explicit"
    return _from_exports(info, wanted, where), "exports"


def _only_candidate(info: ModuleInfo, wanted: dict[str, Any], where: str) -> str:
    convention = wanted.get("convention", "dlpack")
    if "entry" in wanted or convention not in ("elementwise", "gufunc"):
        return str(wanted.get("entry", "_start" if convention == "command" else "portalis_infer"))
    found = candidates(info)
    if len(found) != 1:
        raise InterfaceError(
            f"{where} has {len(found)} functions that could be the entry: set wasm.entry. {exports(info)}"
        )
    return found[0].name


def candidates(info: ModuleInfo) -> list[Export]:
    """The exported functions that may be an entry."""
    return [
        e for e in info.exports if e.kind == "func" and e.name not in _RESERVED and not e.name.startswith(_PREFIXES)
    ]


def exports(info: ModuleInfo) -> str:
    """One sentence that lists the exports with their types."""
    listed = [f"{_shown(e.name)}{e.type}" if e.kind == "func" else f"{_shown(e.name)} ({e.kind})" for e in info.exports]
    more = f" and {len(listed) - 20} more" if len(listed) > 20 else ""
    return f"Its exports are: {', '.join(listed[:20])}{more}" if listed else "It exports nothing"


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _from_exports(info: ModuleInfo, wanted: dict[str, Any], where: str) -> dict[str, Any]:
    convention = wanted.get("convention")
    if info.export("portalis_abi_v1") and convention in (None, "dlpack"):
        raise InterfaceError(
            f"{where} is a dlpack guest that does not say what its tensors are: declare input and output in"
            f" config.pbtxt, or write them into the module with 'portalis annotate'. {exports(info)}"
        )
    found = candidates(info)
    if "entry" in wanted:
        found = [e for e in found if e.name == wanted["entry"]] or [_missing(info, wanted["entry"], where)]
    if convention == "command" or (info.export("_start") and convention is None and "entry" not in wanted):
        return dict(_COMMAND)
    if convention in ("gufunc", "dlpack"):
        raise InterfaceError(
            f"{where}: the {convention} convention needs inputs and outputs (and a signature such as (n)->(n) for a"
            f" gufunc): declare them in config.pbtxt, or write them with 'portalis annotate'. {exports(info)}"
        )
    if len(found) != 1:
        count = "no function" if not found else f"{len(found)} functions"
        raise InterfaceError(
            f"{where} exports {count} that could be the entry: set wasm.entry to one, or describe the module with"
            f" 'portalis annotate'. {exports(info)}"
        )
    return _elementwise(info, found[0], convention, where)


def _missing(info: ModuleInfo, entry: str, where: str) -> Export:
    export = info.export(entry)
    if export is not None and export.kind == "func":
        return export
    near = difflib.get_close_matches(entry, [e.name for e in info.exports if e.kind == "func"], 1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    raise InterfaceError(f"{where} exports no function '{entry}'{hint}. {exports(info)}")


def _elementwise(info: ModuleInfo, export: Export, convention: str | None, where: str) -> dict[str, Any]:
    kind = export.type
    assert isinstance(kind, FuncType)
    numbers = bool(kind.params and kind.results) and set(kind.params) | set(kind.results) <= set(_NUMBERS)
    # In a module with a memory an integer may be a pointer: serving it elementwise would give nonsense without a word.
    pointers = info.export("memory") is not None and bool({"i32", "i64"} & set(kind.params))
    if not numbers or (pointers and convention != "elementwise"):
        why = "may take pointers" if numbers else "does not take and return numbers"
        raise InterfaceError(
            f"{where}: the entry '{_shown(export.name)}'{kind} {why}, so its interface cannot be derived. Declare it in"
            ' config.pbtxt, for example parameters { key: "wasm.convention" value { string_value: "gufunc" } } with'
            ' wasm.signature "(n)->(n)" and input and output (or wasm.convention "elementwise" if the integers are'
            f" values), or write it into the module with 'portalis annotate'. {exports(info)}"
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


def check(info: ModuleInfo, interface: Interface, *, where: str) -> None:
    """Raise InterfaceError listing everything in which `interface` does not fit the module."""
    problems = Problems(where)
    entry = _missing(info, interface.entry, where)
    kind = entry.type
    assert isinstance(kind, FuncType)
    if interface.convention is Convention.ELEMENTWISE:
        _check_elementwise(interface, kind, problems)
    elif interface.convention is Convention.GUFUNC:
        _check_gufunc(interface, kind, problems)
    elif interface.convention is Convention.DLPACK:
        _check_dlpack(info, interface, problems)
    else:
        _check_command(interface, kind, problems)
    problems.raise_any()


def _check_elementwise(interface: Interface, kind: FuncType, problems: Problems) -> None:
    sides = (("input", interface.inputs, kind.params), ("output", interface.outputs, kind.results))
    for side, specs, types in sides:
        if len(specs) != len(types):
            problems.add(f"entry '{interface.entry}'{kind} has {len(types)} {side}s, but {len(specs)} are declared")
            continue
        for spec, valtype in zip(specs, types):
            if spec.dtype.wasm != valtype:
                fits = spec.dtype.wasm or "no number"
                problems.add(
                    f"{side} '{spec.name}' is {spec.dtype}, which is {fits} in WebAssembly, but the entry has {valtype}"
                )
    for spec in interface.inputs:
        if spec.optional:
            problems.add(f"input '{spec.name}' cannot be optional: an elementwise entry needs every number")


def _check_gufunc(interface: Interface, kind: FuncType, problems: Problems) -> None:
    signature = interface.signature
    if signature is None:
        problems.add("a gufunc needs a signature such as (n)->(n) (wasm.signature)")
        return
    sides = (("input", interface.inputs, signature.inputs), ("output", interface.outputs, signature.outputs))
    for side, specs, groups in sides:
        if len(specs) != len(groups):
            problems.add(f"signature {signature} has {len(groups)} {side}s, but {len(specs)} are declared")
        for spec in specs:
            if spec.dtype is BYTES:
                problems.add(
                    f"{side} '{spec.name}' is BYTES, which has no fixed element size: use the dlpack convention"
                )
            if spec.optional:
                problems.add(f"input '{spec.name}' cannot be optional in a gufunc")
    if any(t not in _NUMBERS for t in (*kind.params, *kind.results)):
        problems.add(f"entry '{interface.entry}'{kind} has parameters that are no numbers")


def _check_dlpack(info: ModuleInfo, interface: Interface, problems: Problems) -> None:
    if info.export("portalis_abi_v1") is None:
        problems.add("a dlpack guest must export the marker 'portalis_abi_v1' (tensor ABI version 1)")
    types = {**_ABI, interface.entry: _ABI["portalis_infer"]}
    for name in ("portalis_alloc", interface.entry, "portalis_reset", "portalis_error"):
        export = info.export(name)
        if export is None:
            if name == "portalis_alloc":
                problems.add("a dlpack guest must export 'portalis_alloc'")
        elif export.kind != "func" or export.type != types[name]:
            found = export.type if export.kind == "func" else export.kind
            problems.add(f"'{name}' must be a function {types[name]}, not {found}")


def _check_command(interface: Interface, kind: FuncType, problems: Problems) -> None:
    if kind != FuncType((), ()):
        problems.add(f"a command's entry must be a function () -> (), not {kind}")
    known = {t["name"]: t["dtype"] for t in (*_COMMAND["inputs"], *_COMMAND["outputs"])}  # type: ignore[misc]
    for spec in (*interface.inputs, *interface.outputs):
        if known.get(spec.name) != spec.dtype.name:
            problems.add(f"a command has no tensor '{spec.name}' of {spec.dtype}: its tensors are {known}")
    if "stdin" not in [spec.name for spec in interface.inputs]:
        problems.add("a command needs the input 'stdin'")
