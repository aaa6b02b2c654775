"""Inspects a module file: of any size, in bounded memory, with no more passes over it than are needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..backend import Interface, WasmError
from ..backend.binary import ModuleInfo, read_module
from ..backend.discovery import discover
from .features import FeatureSearch, needs
from .result import Inspection
from .source import opened, sha256
from .validation import problem, sandbox_problem
from .wasi import not_of_wasi, not_provided


def inspect(path: Path, declared: Mapping[str, Any] | None = None) -> Inspection:
    """Inspect a file; `declared` are interface keys as in the ``portalis`` section. Safe in several threads at once.

    One pass to hash and one to validate, about 5 s per GB on two cores; a module that the sandbox refuses is validated
    up to twice more. Memory does not grow with code and data: a file above 16 MiB is mapped (see `source.opened`).

    Raises ModuleError where the file is no module at all, cannot be read, or changes meanwhile; what is only unusable
    is told in the result.
    """
    with opened(path) as module:
        info = read_module(module, str(path))
        digest = sha256(module)
        invalid, outside, threads = _validity(module)
    interface, why = _interface(info, declared, path)
    not_wasi = not_of_wasi(info.imports)
    return Inspection(
        name=path.name,
        size_bytes=info.size,
        sha256=digest,
        exports=info.exports,
        imports=info.imports,
        memories=info.memories,
        tables=info.tables,
        start=info.start is not None,
        custom_sections=info.custom_sections,
        wasi_compliant=not not_wasi,
        not_wasi=not_wasi,
        stateless=info.is_stateless(),
        invalid=invalid,
        refused=None if invalid else not_provided(not_wasi) or outside,
        interface=interface,
        no_interface=why,
        uses_threads=threads,
        search=FeatureSearch(path, digest, valid=invalid is None),
    )


def _validity(module: memoryview) -> tuple[str | None, str | None, bool]:
    """Why the module is invalid, else why the sandbox refuses it (or None), and whether it uses threads."""
    left_out = sandbox_problem(module)
    if left_out is None:
        return None, None, False  # the sandbox has no threads
    invalid = problem(module)
    if invalid is not None:
        return invalid.replace("\n", " "), None, False
    return None, f"it uses what the sandbox leaves out: {left_out}", needs(module, "threads")


def _interface(info: ModuleInfo, declared: Mapping[str, Any] | None, path: Path) -> tuple[Interface | None, str | None]:
    try:
        return discover(info, declared, where=str(path)), None
    except WasmError as error:
        return None, str(error)
