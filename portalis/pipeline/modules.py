"""Inspects the modules of a package, several at a time, and tells all that are no modules at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..inspection import Inspection, WasmError, inspect
from ..problems import InputProblems, Problem
from ..spec import PackageSpec, WasmBinaryPath
from ..target import Module


def inspect_modules(spec: PackageSpec, *, source: str) -> tuple[Module, ...]:
    """Every module of `spec`. Raises InputProblems, under the name `source`, for those that are not valid."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        found = list(pool.map(_inspect, spec.wasm_binaries))
    problems = [
        Problem(where=f"wasm_binaries[{i}].path", message=each) for i, each in enumerate(found) if isinstance(each, str)
    ]
    if problems:
        raise InputProblems(problems, source=source)
    return _modules(spec.wasm_binaries, found)


def _inspect(binary: WasmBinaryPath) -> Inspection | str:
    declared: dict[str, Any] = binary.interface.model_dump(mode="json", exclude_none=True)
    try:
        inspection = inspect(binary.path, declared or None)
    except (WasmError, OSError) as error:
        return str(error)
    if inspection.invalid is not None:
        return f"{binary.path} is not a valid module: {inspection.invalid}"
    return inspection


def _modules(binaries: Sequence[WasmBinaryPath], found: Sequence[Inspection | str]) -> tuple[Module, ...]:
    return tuple(
        Module(name=binary.module_name, path=binary.path, binary=binary, inspection=inspection)
        for binary, inspection in zip(binaries, found)
        if not isinstance(inspection, str)
    )
