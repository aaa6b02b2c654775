"""Inspects a module file, with no more passes over it than are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..backend import Interface, ModuleError, WasmError
from ..backend.compile.compiler import explain_compile_failure
from ..backend.compile.loadable import LoadProblem, module_problems
from ..backend.interface.discovery import discover
from ..backend.setting_names import NAMES_BY_TOOL, SettingNames
from ..backend.wasm.binary import ModuleInfo, read_module
from ..backend.wasm.module_file import read_file
from ..backend.wasm.proposals import UNKNOWN_PROPOSAL, Proposal, proposal_in_message
from ..digests import sha256_hex
from .features import FeatureSearch, needs
from .result import Inspection, is_wasi
from .validator import problem, sandbox_problem


def inspect(path: Path, declared: Mapping[str, Any] | None = None, tool: str = "inspect") -> Inspection:
    """Inspect a file; `declared` are interface keys as in the ``portalis`` section. Safe in several threads at once.

    The file is read whole; one pass to hash and one to validate take about 5 s per GB on two cores; a module that the
    sandbox refuses is validated up to twice more. Advice is given in the words of a `tool` of `backend.setting_names`.

    Raises ModuleError where the file is no module at all, cannot be read, or changes meanwhile; what is only unusable
    is told in the result.
    """
    module = read_file(path)
    info = read_module(module, str(path))
    validity = _validity(module)
    interface, why = _interface(info, declared, path, NAMES_BY_TOOL[tool])
    digest = sha256_hex(module)
    return Inspection(
        name=path.name,
        size_bytes=info.size,
        sha256=digest,
        exports=info.exports,
        imports=info.imports,
        memories=info.memories,
        tables=len(info.tables),
        start=info.start is not None,
        custom_sections=info.custom_sections,
        not_wasi=tuple(f"{i.module}.{i.name}" for i in info.imports if not is_wasi(i)),
        stateless=info.is_stateless(),
        invalid=validity.invalid,
        unloadable=() if validity.invalid else tuple(_unloadable(info, interface, validity)),
        interface=interface,
        no_interface=why,
        uses_threads=validity.uses_threads,
        search=FeatureSearch(path, digest, known=validity.features),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Validity:
    """What the validator found: why the module is invalid, or the proposal that the sandbox leaves out and what was
    said of it; and the features where they are known without a search."""

    invalid: str | None = None
    proposal: tuple[Proposal, str] | None = None
    features: tuple[str, ...] | None = None
    uses_threads: bool = False


def _validity(module: bytes) -> _Validity:
    why = sandbox_problem(module)
    if why is None:
        return _Validity()
    anyway = problem(module)  # with every proposal that wasmtime has
    left_out = proposal_in_message(why if anyway is None else anyway)
    if anyway is None:
        return _Validity(proposal=(left_out or UNKNOWN_PROPOSAL, why), uses_threads=needs(module, "threads"))
    if left_out is None:
        return _Validity(invalid=explain_compile_failure(anyway).removeprefix(NOT_VALID), features=())
    # no engine here validates it: nothing more can be said of what it uses
    return _Validity(proposal=(left_out, anyway), features=(left_out.key,))


NOT_VALID = "is not valid WebAssembly: "


def unloadable(module: bytes, info: ModuleInfo, interface: Interface) -> list[LoadProblem]:
    """The problems for which no setting has the runtime load `module`. Raises ModuleError where it is not valid."""
    validity = _validity(module)
    if validity.invalid is not None:
        raise ModuleError(f"{info.name} {NOT_VALID}{validity.invalid}")
    return list(_unloadable(info, interface, validity))


def _unloadable(info: ModuleInfo, interface: Interface | None, validity: _Validity) -> Iterator[LoadProblem]:
    """What the runtime refuses to load, with what only the validator sees where it is not seen already."""
    found = module_problems(info, interface)
    yield from found
    if validity.proposal is not None and validity.proposal[0].key not in [each.proposal for each in found]:
        yield LoadProblem.from_proposal(*validity.proposal)


def _interface(
    info: ModuleInfo, declared: Mapping[str, Any] | None, path: Path, setting_names: SettingNames
) -> tuple[Interface | None, str | None]:
    try:
        return discover(info, declared, where=str(path), setting_names=setting_names), None
    except WasmError as error:
        return None, str(error)
