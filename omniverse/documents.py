"""What people read in the extension: README, changelog, integration notes, and the example scripts.

Whatever a text of the spec holds, it is shown as that text: Markdown's own characters are escaped, and in Python it is
a literal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ..markup import markdown
from ..output import OutputTree, Source
from ..spec.omniverse import CustomIntegration, ExampleScenario, IntegrationType
from ..spec.package import PackageSpec
from ..templates import render
from . import extension_toml, kit_target
from .names import extension_id, extension_version
from .selection import Chosen

TEMPLATES = Path(__file__).parent / "templates"
WASMTIME = "wasmtime>=50,<51"  # as in pyproject.toml, which a test compares
_MEANINGS = {
    IntegrationType.Simulation: "Call the modules from a simulation's update callback.",
    IntegrationType.Renderer: "Call the modules on buffers that are read back from, or written to, the renderer.",
    IntegrationType.Tool: "Call the modules from a tool's own actions.",
    IntegrationType.DataProcessor: "Call the modules on data before it enters the scene, or after it leaves it.",
}


def documents(spec: PackageSpec, chosen: Sequence[Chosen], created_at: str) -> OutputTree:
    """The files under ``docs/``; `created_at` (ISO 8601) dates the changelog."""
    config, version = spec.omniverse_config, extension_version(spec)
    integration, tree = config.integration_type, OutputTree()
    values: dict[str, Any] = {
        "id": extension_id(spec),
        "title": extension_toml.title(spec),
        "description": extension_toml.description(spec),
        "version": version,
        "modules": [_about(each) for each in chosen],
        "kit_versions": kit_versions(spec),
        "wasmtime": WASMTIME,
        "limits": list(extension_toml.LIMITS.items()),
        "integration": integration.Custom if isinstance(integration, CustomIntegration) else integration.value,
        "meaning": "" if isinstance(integration, CustomIntegration) else _MEANINGS[integration],
        "dependencies": [each.extension_name for each in config.dependencies],
        "examples": config.example_scenarios,
    }
    tree.text(extension_toml.README, render(TEMPLATES, "README.md.j2", (markdown,), **values))
    changelog = render(TEMPLATES, "CHANGELOG.md.j2", version=version, date=created_at[:10], count=len(chosen))
    tree.text(extension_toml.CHANGELOG, changelog)
    if config.generate_integration_docs:
        tree.text(extension_toml.INTEGRATION, render(TEMPLATES, "integration.md.j2", (markdown,), **values))
    return tree


def examples(spec: PackageSpec) -> OutputTree:
    """The files under ``examples/``: a script for each scenario, and its scene. What a scene refers to stays behind."""
    tree = OutputTree()
    for each in spec.omniverse_config.example_scenarios:
        folder, scene = PurePosixPath("examples"), _scene(each)
        values = {
            "name": ascii(each.name),
            "description": ascii(each.description),
            "documentation": ascii(each.documentation),
            "scene": ascii(scene),
        }
        tree.text(folder / f"{each.name}.py", render(TEMPLATES, "example.py.j2", id=extension_id(spec), **values))
        if each.scenario_file is not None and scene is not None:
            tree.add(folder / scene, Source(path=each.scenario_file))
    return tree


def kit_versions(spec: PackageSpec) -> str:
    """The versions of Kit that the spec says it is for, in words."""
    return ", ".join(kit_target.kit_versions(spec))


def _scene(scenario: ExampleScenario) -> str | None:
    return None if scenario.scenario_file is None else scenario.name + scenario.scenario_file.suffix.lower()


def _about(module: Chosen) -> dict[str, str]:
    interface = module.inspection.interface

    def told(side: str) -> str:
        specs = getattr(interface, side, ())
        return ", ".join(f"{spec.name} {spec.dtype.name} {list(spec.dims)}" for spec in specs)

    return {
        "name": module.name,
        "literal": ascii(module.name),
        "entry": module.entry,
        "convention": "unknown" if interface is None else interface.convention.value,
        "inputs": told("inputs"),
        "outputs": told("outputs"),
        "description": module.description,
    }
