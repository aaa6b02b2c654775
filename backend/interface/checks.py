"""Checks that a module satisfies an interface, for each call convention."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ..constants import MAX_OPERANDS
from ..errors import InterfaceError
from ..messages import quoted_name
from ..setting_names import TRITON_NAMES, SettingNames
from ..wasm.binary import Export, FuncType, ModuleInfo
from ..wasm.sections import NUMBERS
from .dtypes import BYTES
from .gufunc import plan_kernel
from .interface import Convention, Interface, InterfaceProblems

DEFAULT_MAX_BATCH = 64
_NOTHING = FuncType((), ())
COMMAND: dict[str, Any] = {
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


def describe_exports(info: ModuleInfo) -> str:
    """A sentence that lists the exports with their types."""
    first = info.exports[:20]
    listed = [
        f"{quoted_name(e.name)}{e.type}" if e.kind == "func" else f"{quoted_name(e.name)} ({e.kind})" for e in first
    ]
    more = f" and {len(info.exports) - 20} more" if len(info.exports) > 20 else ""
    return f"Its exports are: {', '.join(listed)}{more}" if listed else "It has no exports"


def find_entry(info: ModuleInfo, entry: str, where: str) -> Export:
    """The exported function `entry`. Raises InterfaceError with the most similar name and the exports."""
    export = info.export(entry)
    if export is not None and export.kind == "func":
        return export
    near = _most_similar(entry, [e.name for e in info.exports if e.kind == "func"])
    hint = f" (did you mean '{quoted_name(near)}'?)" if near else ""
    raise InterfaceError(f"{where} exports no function '{quoted_name(entry)}'{hint}. {describe_exports(info)}")


def _most_similar(entry: str, functions: list[str]) -> str | None:
    """The function with the most similar name.

    Comparing takes quadratic time, so long names and lists are truncated.
    """
    candidates = [name for name in functions if abs(len(name) - len(entry)) <= 40 and len(name) <= 200]
    return next(iter(difflib.get_close_matches(entry, candidates[:1000], 1)), None)


def check_interface(
    info: ModuleInfo, interface: Interface, *, where: str, setting_names: SettingNames = TRITON_NAMES
) -> None:
    """Raise InterfaceError with all contradictions between `interface` and the module.

    The remediation names settings as in `setting_names`.
    """
    problems = InterfaceProblems(where)
    kind = find_entry(info, interface.entry, where).type
    assert isinstance(kind, FuncType)
    for spec in interface.outputs:
        if spec.optional:
            problems.add(f"output '{spec.name}' cannot be optional: only inputs can")
    initializers = [name for name in ("_initialize", "_start") if name != interface.entry]
    _check_types(info, dict.fromkeys(initializers, _NOTHING), problems)
    memory = info.export("memory")
    takes_pointers = interface.convention in (Convention.GUFUNC, Convention.DLPACK)
    if takes_pointers and (memory is None or memory.kind != "memory"):
        others = [quoted_name(export.name) for export in info.exports if export.kind == "memory"]
        now = f" by that name, too (it is exported as '{others[0]}')" if others else ""
        problems.add(f"the entry takes pointers, but no memory is exported as 'memory' for the tensors: export it{now}")
    if interface.convention is Convention.ELEMENTWISE:
        _check_elementwise(interface, kind, problems)
    elif interface.convention is Convention.GUFUNC:
        _check_gufunc(interface, kind, problems, setting_names)
    elif interface.convention is Convention.DLPACK:
        _check_dlpack(info, interface, problems)
    else:
        _check_command(interface, kind, problems)
    problems.raise_any()


def _check_types(info: ModuleInfo, expected: Mapping[str, FuncType], problems: InterfaceProblems) -> None:
    """Add a problem for each export that is not a function of the `expected` type; missing exports are allowed."""
    for name, kind in expected.items():
        export = info.export(name)
        if export is not None and export.type != kind:
            found = export.type if export.kind == "func" else export.kind
            problems.add(f"'{name}' must be a function {kind}, not {found}")


def _check_elementwise(interface: Interface, kind: FuncType, problems: InterfaceProblems) -> None:
    sides = (("input", interface.inputs, kind.params), ("output", interface.outputs, kind.results))
    for side, specs, types in sides:
        if len(specs) != len(types):
            problems.add(f"entry '{interface.entry}'{kind} has {len(types)} {side}s, but {len(specs)} are declared")
            continue
        for spec, valtype in zip(specs, types):
            if spec.dtype.wasm != valtype:
                carrier = spec.dtype.wasm or "not a number"
                problems.add(
                    f"{side} '{spec.name}' is {spec.dtype}, which is {carrier} in WebAssembly, but the entry has"
                    f" {valtype}"
                )
    if len(kind.params) + len(kind.results) > MAX_OPERANDS:
        problems.add(
            f"entry '{interface.entry}' has {len(kind.params) + len(kind.results)} parameters and results: an"
            f" elementwise entry has at most {MAX_OPERANDS}"
        )
    for spec in interface.inputs:
        if spec.optional:
            problems.add(f"input '{spec.name}' cannot be optional: an elementwise entry needs every number")


def _check_gufunc(
    interface: Interface, kind: FuncType, problems: InterfaceProblems, setting_names: SettingNames
) -> None:
    signature = interface.signature
    if signature is None:
        problems.add(f"a gufunc needs a signature such as (n)->(n) ({setting_names.signature})")
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
            if spec.optional and side == "input":
                problems.add(f"input '{spec.name}' cannot be optional in a gufunc")
    if not {*kind.params, *kind.results} <= NUMBERS:
        problems.add(f"entry '{interface.entry}'{kind} has parameters that are not numbers")
    if not problems.found:
        try:
            plan_kernel(interface, kind, setting_names)
        except InterfaceError as error:
            problems.add(str(error))


def _check_dlpack(info: ModuleInfo, interface: Interface, problems: InterfaceProblems) -> None:
    if info.export("portalis_abi_v1") is None:
        problems.add("a dlpack guest must export the marker 'portalis_abi_v1' (tensor ABI version 1)")
    if info.export("portalis_alloc") is None:
        problems.add("a dlpack guest must export 'portalis_alloc'")
    expected = {
        "portalis_alloc": FuncType(("i32", "i32"), ("i32",)),
        interface.entry: FuncType(("i32",) * 4, ("i32",)),
        "portalis_reset": _NOTHING,
        "portalis_error": FuncType((), ("i32",)),
    }
    _check_types(info, expected, problems)


def _check_command(interface: Interface, kind: FuncType, problems: InterfaceProblems) -> None:
    if kind != _NOTHING:
        problems.add(f"a command's entry must be a function () -> (), not {kind}")
    known = {t["name"]: t["dtype"] for t in (*COMMAND["inputs"], *COMMAND["outputs"])}
    for spec in (*interface.inputs, *interface.outputs):
        if known.get(spec.name) != spec.dtype.name:
            problems.add(f"a command cannot have a tensor '{spec.name}' of {spec.dtype}: its tensors are {known}")
    if "stdin" not in [spec.name for spec in interface.inputs]:
        problems.add("a command needs the input 'stdin'")
