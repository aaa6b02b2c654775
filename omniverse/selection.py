"""Selects the modules of an extension, with their interfaces."""

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
    """A module of the extension. `declared` contains interface keys, as in the ``portalis`` section."""

    name: str
    path: Path
    description: str
    declared: dict[str, Any]
    inspection: Inspection

    @property
    def file(self) -> PurePosixPath:
        """The path of the module in the extension."""
        return FOLDER / f"{self.name}.wasm"

    @property
    def entry(self) -> str:
        """The export to call; the declared one if the interface is unknown."""
        interface = self.inspection.interface
        return interface.entry if interface is not None else str(self.declared.get("entry", "main"))


def select_modules(job: Job) -> tuple[list[SelectedModule], list[StageError]]:
    """The modules in ``omniverse_config.wasm_modules``, or all modules of the package; errors for other files."""
    from ..inspection import WasmError

    listed, selected, errors = job.spec.omniverse_config.wasm_modules, list[SelectedModule](), list[StageError]()
    for each in listed:
        try:
            selected.append(_from_list(each, job.modules))
        except WasmError as error:
            errors.append(unreadable_module_error(each.module_name, str(error)))
    return ([_from_package(each) for each in job.modules], []) if not listed else (selected, errors)


def _from_package(module: Module) -> SelectedModule:
    return SelectedModule(
        name=module.name,
        path=module.path,
        description=module.binary.description,
        declared=_declared(module),
        inspection=module.inspection,
    )


def _from_list(entry: WasmModulePath, modules: tuple[Module, ...]) -> SelectedModule:
    from ..inspection import inspect_module

    known = next((each for each in modules if each.path == entry.file_path), None)
    declared = {} if known is None else _declared(known)
    interface = None if known is None else known.inspection.interface
    if "entry_point" in entry.model_fields_set and (interface is None or interface.entry != entry.entry_point):
        # the interface of another export does not apply to this one
        declared = {**(declared if interface is None else {}), "entry": entry.entry_point}
        known = None
    return SelectedModule(
        name=entry.module_name,
        path=entry.file_path,
        description=entry.description,
        declared=declared,
        inspection=inspect_module(entry.file_path, declared, "spec") if known is None else known.inspection,
    )


def _declared(module: Module) -> dict[str, Any]:
    return module.binary.interface.model_dump(mode="json", exclude_none=True)
