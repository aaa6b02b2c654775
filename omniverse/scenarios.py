"""Generates the example scenarios (requirements 2.4): for each, a script and a USD scene with its arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ..backend.constants import WASMTIME_REQUIREMENT
from ..output import CopiedFile, OutputTree
from ..spec.omniverse import ExampleScenario
from ..spec.package_spec import PackageSpec
from ..templates import render
from .extension_documents import TEMPLATES
from .extension_names import extension_id
from .inside.scenario import USD_TYPES, is_batched
from .python_signatures import INPUT, OUTPUT, python_identifiers
from .selection import SelectedModule

if TYPE_CHECKING:
    from ..backend.interface.interface import Interface, TensorSpec

FOLDER = PurePosixPath("examples")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_VARIABLE_SIZE = 8  # for a variable dim
_MAX_ELEMENTS = 4096  # of an array in a scene; the script fills larger arrays


def scenario_files(spec: PackageSpec, modules: Sequence[SelectedModule]) -> OutputTree:
    """The files under ``examples/``. A scene from the spec is copied, but not the files that it refers to."""
    tree = OutputTree()
    prims = prim_names(modules)
    interfaces = {each.name: each.inspection.interface for each in modules if each.inspection.interface is not None}
    for scenario in spec.omniverse_config.example_scenarios:
        scene = scene_name(scenario)
        values = {
            "id": extension_id(spec),
            "wasmtime": WASMTIME_REQUIREMENT,
            "file": f"{scenario.name}.py" if " " not in scenario.name else f'"{scenario.name}.py"',
            "name": ascii(scenario.name),
            "description": ascii(scenario.description),
            "documentation": ascii(scenario.documentation),
            "scene": ascii(scene),
            "modules": [f"{name!a}: {_attribute_paths(prims[name], interfaces[name])!a}" for name in interfaces],
        }
        tree.text(FOLDER / f"{scenario.name}.py", render(TEMPLATES, "example.py.j2", **values))
        if scenario.scenario_file is not None:
            tree.add(FOLDER / scene, CopiedFile(path=scenario.scenario_file))
        else:
            scopes = [_prim(prims[name], name, interface) for name, interface in interfaces.items()]
            about = "\n\n".join(filter(None, (scenario.description, scenario.documentation))) or scenario.name
            tree.text(
                FOLDER / scene,
                render(TEMPLATES, "scene.usda.j2", documentation=usda_string(about), modules=scopes),
            )
    return tree


def scene_name(scenario: ExampleScenario) -> str:
    """The file name of the scene in the extension."""
    scene = scenario.scenario_file
    return scenario.name + (".usda" if scene is None else scene.suffix.lower())


def _attribute_paths(prim: str, interface: Interface) -> dict[str, Any]:
    return {
        "prim": f"/Scenario/{prim}",
        "inputs": attribute_names(interface.inputs, INPUT),
        "outputs": attribute_names(interface.outputs, OUTPUT),
    }


def prim_names(modules: Sequence[SelectedModule]) -> dict[str, str]:
    """The name of each module's prim under ``/Scenario``."""
    names = [each.name for each in modules]
    return dict(zip(names, python_identifiers(names, (), "module")))


def attribute_names(specs: Iterable[TensorSpec], prefix: str) -> dict[str, str]:
    """The attribute names of tensors: USD has the same rules for names as Python."""
    names = [each.name for each in specs]
    return dict(zip(names, python_identifiers(names, (), prefix)))


def _prim(prim: str, name: str, interface: Interface) -> dict[str, Any]:
    return {"prim": prim, "name": usda_string(name), "attributes": list(_attributes(interface))}


def _attributes(interface: Interface) -> Iterator[dict[str, str]]:
    batched = is_batched(interface)
    for spec, name in zip(interface.inputs, attribute_names(interface.inputs, INPUT).values()):
        if spec.optional:
            continue
        shape = (1,) * batched + tuple(_VARIABLE_SIZE if size == -1 else size for size in spec.dims)
        count = math.prod(shape)
        has_value = count <= _MAX_ELEMENTS
        value = f" = {usda_array(_sample(spec.dtype.name, count))}" if has_value else ""
        yield {"type": USD_TYPES[spec.dtype.name], "name": f"inputs:{name}", "value": value}
        if has_value and len(shape) != 1:
            yield {"type": "int[]", "name": f"inputs:{name}:shape", "value": f" = {usda_array(shape)}"}
    for spec, name in zip(interface.outputs, attribute_names(interface.outputs, OUTPUT).values()):
        yield {"type": USD_TYPES[spec.dtype.name], "name": f"outputs:{name}", "value": ""}


def _sample(dtype: str, count: int) -> list[float | int | str]:
    """Varying values: numbers in steps of a quarter around zero, small integers, strings."""
    if dtype == "BYTES":
        return [f"text {i}" for i in range(count)]
    if dtype in ("FP16", "FP32", "FP64"):
        return [(i % 33 - 16) / 4 for i in range(count)]  # exact in all three types
    return [i % (2 if dtype == "BOOL" else 100) for i in range(count)]


def usda_string(value: str) -> str:
    """`value` as a string literal of USD's text format."""
    return f'"{"".join(map(_character, value))}"'


def usda_array(values: Iterable[float | int | str]) -> str:
    """An array of numbers or strings in USD's text format."""
    return "[" + ", ".join(usda_string(each) if isinstance(each, str) else repr(each) for each in values) + "]"


def _character(each: str) -> str:
    if each in _ESCAPES:
        return _ESCAPES[each]
    return f"\\x{ord(each):02x}" if each < " " or each == "\x7f" else each
