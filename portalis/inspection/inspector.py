"""Inspects a module file, with as few passes over it as possible."""

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
from ..backend.wasm.producers import Producer, module_producers
from ..backend.wasm.proposals import UNKNOWN_PROPOSAL, Proposal, proposal_in_message
from ..digests import sha256_hex
from .features import FeatureSearch, needs
from .result import Inspection, is_wasi
from .validator import sandbox_error, validation_error


def inspect_module(path: Path, declared: Mapping[str, Any] | None = None, tool: str = "inspect") -> Inspection:
    """Inspect a file; `declared` has interface keys as in the ``portalis`` section. Thread-safe.

    The whole file is read. Hashing and validating it takes about 5 s per GB on two cores; a module that the sandbox
    rejects is validated up to two more times. Messages use the setting names of `tool` (`backend.setting_names`).

    Raises ModuleError if the file is not a module, cannot be read, or changes while it is read. A module that cannot be
    used is not an error: the result has the reasons.
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


def producers(path: Path) -> tuple[Producer, ...]:
    """The language and tools in the ``producers`` section of the module at `path`. Raises ModuleError."""
    return module_producers(read_module(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Validity:
    """The result of validation.

    `invalid` is the validator's message for an invalid module. `proposal` is a proposal that the sandbox disables but
    the module uses, with the validator's message. `features` are those known without a search.
    """

    invalid: str | None = None
    proposal: tuple[Proposal, str] | None = None
    features: tuple[str, ...] | None = None
    uses_threads: bool = False


def _validity(module: bytes) -> _Validity:
    why = sandbox_error(module)
    if why is None:
        return _Validity()
    error = validation_error(module)  # with all of wasmtime's proposals
    if error is None:
        disabled = proposal_in_message(why) or UNKNOWN_PROPOSAL
        return _Validity(proposal=(disabled, why), uses_threads=needs(module, "threads"))
    unsupported = proposal_in_message(error)
    if unsupported is None:
        return _Validity(invalid=explain_compile_failure(error).removeprefix(NOT_VALID), features=())
    # no engine here validates the module, so its other features cannot be found
    return _Validity(proposal=(unsupported, error), features=(unsupported.key,))


NOT_VALID = "is not valid WebAssembly: "


def unloadable(module: bytes, info: ModuleInfo, interface: Interface) -> list[LoadProblem]:
    """Problems that prevent loading `module` under any settings. Raises ModuleError if it is invalid."""
    validity = _validity(module)
    if validity.invalid is not None:
        raise ModuleError(f"{info.name} {NOT_VALID}{validity.invalid}")
    return list(_unloadable(info, interface, validity))


def _unloadable(info: ModuleInfo, interface: Interface | None, validity: _Validity) -> Iterator[LoadProblem]:
    """The runtime's problems with a valid module, and the validator's, unless the proposal is already among them."""
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
