"""Which modules go into the extension, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..spec.omniverse import WasmModulePath
from ..target import Job, Module, StageError
from .extension_errors import unreadable_module_error

if TYPE_CHECKING:
    from ..inspection import Inspection

FOLDER = PurePosixPath("wasm_modules")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedModule:
    """A module of the extension. `declared` are interface keys as in the ``portalis`` section."""

    name: str
    path: Path
    description: str
    declared: dict[str, Any]
    inspection: Inspection

    @property
    def file(self) -> PurePosixPath:
        """Where it lies in the extension."""
        return FOLDER / f"{self.name}.wasm"

    @property
    def entry(self) -> str:
        """The export that is called; what was declared where the interface is not known."""
        interface = self.inspection.interface
        return interface.entry if interface is not None else str(self.declared.get("entry", "main"))


def select_modules(job: Job) -> tuple[list[SelectedModule], list[StageError]]:
    """The modules that ``omniverse_config.wasm_modules`` lists, else all of the package; and what is no module."""
    from ..inspection import WasmError

    listed, chosen, errors = job.spec.omniverse_config.wasm_modules, list[SelectedModule](), list[StageError]()
    for each in listed:
        try:
            chosen.append(_listed(each, job.modules))
        except WasmError as problem:
            errors.append(unreadable_module_error(each.module_name, str(problem)))
    return ([_of_the_package(each) for each in job.modules], []) if not listed else (chosen, errors)


def _of_the_package(module: Module) -> SelectedModule:
    return SelectedModule(
        name=module.name,
        path=module.path,
        description=module.binary.description,
        declared=_declared(module),
        inspection=module.inspection,
    )


def _listed(wanted: WasmModulePath, modules: tuple[Module, ...]) -> SelectedModule:
    from ..inspection import inspect_module

    known = next((each for each in modules if each.path == wanted.file_path), None)
    declared = {} if known is None else _declared(known)
    interface = None if known is None else known.inspection.interface
    if "entry_point" in wanted.model_fields_set and (interface is None or interface.entry != wanted.entry_point):
        # what is known of another entry is of no use for this one
        declared = {**(declared if interface is None else {}), "entry": wanted.entry_point}
        known = None
    return SelectedModule(
        name=wanted.module_name,
        path=wanted.file_path,
        description=wanted.description,
        declared=declared,
        inspection=inspect_module(wanted.file_path, declared, "spec") if known is None else known.inspection,
    )


def _declared(module: Module) -> dict[str, Any]:
    return module.binary.interface.model_dump(mode="json", exclude_none=True)
