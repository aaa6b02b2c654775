"""Writes a module's interface into its ``portalis`` custom section, so that the ``.wasm`` file describes itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .backend import Interface, Limits
from .backend.compile.loadable import limit_problems, raise_load_problems
from .backend.interface.discovery import INTERFACE_SECTION, discover, parse_section
from .backend.setting_names import ANNOTATE_NAMES
from .backend.wasm import assembler as emit
from .backend.wasm.binary import ModuleInfo, read_module
from .errors import UsageError
from .inspection.inspector import unloadable

_TENSOR = re.compile(r"^(?P<name>[^:\s]+):(?P<dtype>\w+)(?P<dims>\[[^\]]*\])?(?P<optional>\?)?$")


def replace_interfaces(module: bytes, entries: Sequence[Mapping[str, Any]], *, where: str) -> bytes:
    """`module` with a ``portalis`` section of `entries` instead of an earlier one; other bytes are unchanged.

    Each entry is completed from the module's exports, and checked against them. Raises ModuleError or InterfaceError.
    """
    bare = _without_section(module, read_module(module, where))
    info = read_module(bare, where)
    interfaces = [discover(info, entry, where=where, setting_names=ANNOTATE_NAMES) for entry in entries]
    _check_loadable(module, info, interfaces)
    found = [interface.to_json() for interface in interfaces]
    names = [entry["entry"] for entry in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"entry {twice!r} is described twice")
    return _with_section(bare, found)


def amend_interface(module: bytes, changes: Mapping[str, Any], *, where: str) -> bytes:
    """`module` with `changes` to the keys of one entry; its other entries and keys are unchanged.

    The entry is ``changes["entry"]``, or the only one of the module. Raises ModuleError or InterfaceError.
    """
    info = read_module(module, where)
    interface = discover(info, changes, where=where, setting_names=ANNOTATE_NAMES)
    _check_loadable(module, info, [interface])
    changed = interface.to_json()
    entries = [
        changed if entry.get("entry", "portalis_infer") == changed["entry"] else entry
        for entry in parse_section(info, where)
    ]
    return _with_section(_without_section(module, info), entries if changed in entries else [*entries, changed])


def _check_loadable(module: bytes, info: ModuleInfo, interfaces: Sequence[Interface]) -> None:
    """Raise ModuleError if the runtime would not load `module` with one of the `interfaces`, under any settings."""
    found = [problem for interface in interfaces for problem in unloadable(module, info, interface)]
    raise_load_problems(dict.fromkeys(found), where=info.name, setting_names=ANNOTATE_NAMES)


def over_limits(module: bytes) -> list[str]:
    """Messages for each default limit of the runtime that `module` exceeds, and that must be raised to serve it."""
    info = read_module(module)
    return [problem.message(ANNOTATE_NAMES) for problem in limit_problems(info.memories, info.size, Limits())]


def _with_section(bare: bytes, entries: Sequence[Mapping[str, Any]]) -> bytes:
    text = "\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    return bare + emit.section(0, emit.name(INTERFACE_SECTION) + text.encode())


def _without_section(module: bytes, info: ModuleInfo) -> bytes:
    kept = [module[s.at : s.end] for s in info.sections if s.number != 0 or s.name != INTERFACE_SECTION]
    return module[:8] + b"".join(kept)


def parse_tensor(text: str) -> dict[str, Any]:
    """The JSON of a tensor written as ``name:DTYPE[dims]``, for example ``x:FP32[-1,3]``; ``?`` marks an optional
    input.

    Raises UsageError.
    """
    match = _TENSOR.match(text)
    if match is None:
        raise UsageError(
            f"{text!r} does not describe a tensor",
            remediation="Write NAME:DTYPE[DIMS], for example x:FP32[-1] or o:BYTES[1]?",
        )
    dims = (match["dims"] or "[]")[1:-1]
    try:
        sizes = [int(size) for size in dims.split(",")] if dims.strip() else []
    except ValueError:
        raise UsageError(
            f"{text!r}: the dims are not integers", remediation="Use sizes greater than 0, or -1 for any size."
        ) from None
    optional = {"optional": True} if match["optional"] else {}
    return {"name": match["name"], "dtype": match["dtype"], "dims": sizes, **optional}
