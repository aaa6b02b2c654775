"""Generates an extension's documentation: README, changelog and integration notes.

Text from the spec is shown literally: Markdown's special characters are escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backend.constants import WASMTIME_REQUIREMENT
from ..escaping import escape_hidden
from ..markup import markdown
from ..output import OutputTree
from ..spec.omniverse import CustomIntegration, IntegrationType
from ..spec.package_spec import PackageSpec
from ..templates import render
from .extension_names import extension_id, extension_version
from .extension_toml import (
    CHANGELOG,
    INTEGRATION,
    LIMITS,
    README,
    extension_description,
    extension_title,
)
from .inside.scenario import is_batched
from .kit_target import kit_python, supported_kit_versions
from .node_types import node_problem
from .python_signatures import INPUT, OUTPUT, PythonFunction, camel, python_functions, python_identifiers
from .selection import SelectedModule

if TYPE_CHECKING:
    from ..backend.interface.interface import TensorSpec

TEMPLATES = Path(__file__).parent / "templates"
_MEANINGS = {
    IntegrationType.Simulation: "In each update of Kit, modules read and write attributes of the stage.",
    IntegrationType.Renderer: "Modules are called before or after each frame, with arrays that your code provides.",
    IntegrationType.Tool: "Modules process files of arrays, from a window, a command, or the command line.",
    IntegrationType.DataProcessor: "Modules process arrays, or attributes of a stage.",
}


def documentation_files(spec: PackageSpec, modules: Sequence[SelectedModule], created_at: str) -> OutputTree:
    """The files under ``docs/``; `created_at` (ISO 8601) is the date of the changelog."""
    config, version = spec.omniverse_config, extension_version(spec)
    integration, tree = config.integration_type, OutputTree()
    values: dict[str, Any] = {
        "id": extension_id(spec),
        "title": extension_title(spec),
        "description": extension_description(spec),
        "version": version,
        "modules": [_about(*each) for each in zip(modules, python_functions(modules), _prims(spec, modules))],
        "kit_versions": kit_versions_text(spec),
        "wasmtime": WASMTIME_REQUIREMENT,
        "limits": list(LIMITS.items()),
        "prebundle": config.prebundle,
        "python": kit_python(config.required_kit_version),
        "integration_docs": config.generate_integration_docs,
        "nodes": config.omnigraph_nodes,
        "command": command_name(spec),
        "folder": extension_id(spec).replace(".", "/"),
        "type": "Custom" if isinstance(integration, CustomIntegration) else integration.value,
        "integration": integration.Custom if isinstance(integration, CustomIntegration) else integration.value,
        "meaning": "" if isinstance(integration, CustomIntegration) else _MEANINGS[integration],
        "dependencies": [each.extension_name for each in config.dependencies],
        "examples": config.example_scenarios,
        "scene": ascii(_scene(spec) or "scene.usda"),
    }
    tree.text(README, render(TEMPLATES, "README.md.j2", (markdown,), **values))
    changelog = render(TEMPLATES, "CHANGELOG.md.j2", version=version, date=created_at[:10], count=len(modules))
    tree.text(CHANGELOG, changelog)
    if config.generate_integration_docs:
        tree.text(INTEGRATION, render(TEMPLATES, "integration.md.j2", (markdown,), **values))
    return tree


def kit_versions_text(spec: PackageSpec) -> str:
    """The versions of Kit that the spec lists, as text."""
    return ", ".join(supported_kit_versions(spec))


def command_name(spec: PackageSpec) -> str:
    """The name of the tool's Kit command."""
    return camel(python_identifiers([f"run {spec.package_name}"])[0])


def _about(module: SelectedModule, function: PythonFunction, prim: str) -> dict[str, Any]:
    """The templates' values for a module; `prim` is the prim whose attributes are bound to its tensors."""
    interface = module.inspection.interface
    inputs = () if interface is None else tuple(each for each in interface.inputs if not each.optional)
    outputs = () if interface is None else interface.outputs
    batch = (-1,) if interface is not None and is_batched(interface) else ()

    def describe(specs: Sequence[TensorSpec]) -> str:
        return ", ".join(f"{spec.name} {spec.dtype.name} {[*batch, *spec.dims]}" for spec in specs)

    def attribute_paths(
        side: str, specs: Sequence[TensorSpec], every: Sequence[TensorSpec], prefix: str
    ) -> dict[str, str]:
        named = dict(zip((each.name for each in every), python_identifiers([each.name for each in every], (), prefix)))
        return {spec.name: f"{prim}.{side}:{named[spec.name]}" for spec in specs}

    every = () if interface is None else interface.inputs
    bound = {
        "inputs": attribute_paths("inputs", inputs, every, INPUT),
        "outputs": attribute_paths("outputs", outputs, outputs, OUTPUT),
    }
    return {
        "name": module.name,
        "literal": ascii(module.name),
        "key": _quoted(module.name),
        "function": function.function,
        "parameters": ", ".join(function.required),
        "entry": module.entry,
        "convention": "unknown" if interface is None else interface.convention.value,
        "inputs": describe(every),
        "outputs": describe(outputs),
        "batch": interface.max_batch_size if interface is not None and batch else 0,
        "arguments": "{" + ", ".join(f"{spec.name!a}: {_sample(spec, bool(batch))}" for spec in inputs) + "}",
        "description": module.description,
        "is_node": node_problem(interface) is None,
        **{f"bound_{side}": ascii(table) for side, table in bound.items()},
        **{f"toml_{side}": _toml(table) for side, table in bound.items()},
    }


def _sample(spec: TensorSpec, batched: bool) -> str:
    """A Python expression for an input: ones, with 8 for each variable dim and a batch of one row."""
    shape = (1,) * batched + tuple(8 if size == -1 else size for size in spec.dims)
    if spec.dtype.name == "BYTES":
        return f'np.full({shape}, b"text", "object")'
    return f'np.ones({shape}, "{spec.dtype.numpy.name}")'


def _scene(spec: PackageSpec) -> str | None:
    """The first generated scene of an example; None without examples, or if the spec provides all scenes."""
    names = [each.name for each in spec.omniverse_config.example_scenarios if each.scenario_file is None]
    return f"examples/{names[0]}.usda" if names else None


def _prims(spec: PackageSpec, modules: Sequence[SelectedModule]) -> list[str]:
    """The prim of each module: in the generated scene of an example if there is one, else a placeholder."""
    if _scene(spec) is not None:
        return [f"/Scenario/{name}" for name in python_identifiers([each.name for each in modules], (), "module")]
    return ["/World/Data"] * len(modules)


def _toml(table: Mapping[str, str]) -> str:
    return ", ".join(f"{_quoted(key)} = {_quoted(value)}" for key, value in table.items())


def _quoted(text: str) -> str:
    """`text` as a TOML string: JSON's syntax, but without surrogate pairs, so only control characters are escaped."""
    return escape_hidden(json.dumps(text, ensure_ascii=False))
