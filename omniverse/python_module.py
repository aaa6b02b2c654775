"""Builds the Python module of an extension: generated files, and the runtime files that are copied from `inside`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from ..backend.constants import WASMTIME_REQUIREMENT
from ..output import CopiedFile, OutputTree
from ..spec.omniverse import CustomIntegration, IntegrationType
from ..spec.package_spec import PackageSpec
from ..templates import render
from ..wasm_backend import ISLAND_NAME, island_files
from .extension_documents import TEMPLATES, command_name
from .extension_names import extension_id
from .extension_toml import LIMITS, extension_title
from .python_signatures import python_functions
from .selection import SelectedModule

_INSIDE = Path(__file__).parent / "inside"
_COMMON_FILES: Final = ("bundled", "extension", "frames", "integration", "log", "programs", "runtime")
_INTEGRATION_FILES: Final = {
    IntegrationType.Simulation: ("attributes", "simulation", "steps"),
    IntegrationType.DataProcessor: ("attributes", "processor", "steps"),
    IntegrationType.Tool: ("actions", "command", "tool", "window"),
    IntegrationType.Renderer: ("hooks",),
}


def module_folder(identifier: str) -> PurePosixPath:
    """The directory of the Python module in an extension: Kit finds a module by its dotted name."""
    return PurePosixPath(*identifier.split("."))


def python_module_files(spec: PackageSpec, modules: Sequence[SelectedModule]) -> OutputTree:
    """The files of the Python module, relative to the extension."""
    identifier, config, tree = extension_id(spec), spec.omniverse_config, OutputTree()
    folder, integration = module_folder(identifier), config.integration_type
    # no __init__.py above the module: its parent is a namespace package that several extensions can share
    tree.text(folder / "__init__.py", render(TEMPLATES, "module.py.j2", id=identifier))
    functions = python_functions(modules)
    exported = [each.function for each in functions] + [each.result for each in functions if len(each.outputs) > 1]
    text = render(TEMPLATES, "models.py.j2", id=identifier, functions=functions, exported=ascii(sorted(exported)))
    tree.text(folder / "models.py", text.rstrip("\n"))
    custom = isinstance(integration, CustomIntegration)
    parts = ("hooks",) if isinstance(integration, CustomIntegration) else _INTEGRATION_FILES[integration]
    nodes = ("node",) if config.omnigraph_nodes else ()
    scenarios = ("attributes", "scenario") if config.example_scenarios else ()
    for name in dict.fromkeys((*_COMMON_FILES, *parts, *nodes, *scenarios)):
        tree.add(folder / f"{name}.py", CopiedFile(path=_INSIDE / f"{name}.py"))
    about = {
        "id": identifier,
        "title": extension_title(spec),
        "depth": len(folder.parts),
        "limits": list(LIMITS),
        "wasmtime": WASMTIME_REQUIREMENT,
        "integration": "Custom" if custom else str(integration),
        "command": command_name(spec),
    }
    tree.text(folder / "about.json", json.dumps(about, indent=2))
    table = {each.name: {"file": str(each.file), "entry": each.entry, "interface": each.declared} for each in modules}
    tree.text(folder / "modules.json", json.dumps(table, indent=2))
    # inside the module, so that extensions of different portalis versions can run in one Kit
    for path, source in island_files():
        tree.add(folder / ISLAND_NAME / path, CopiedFile(path=source))
    return tree
