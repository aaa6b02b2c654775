"""The example scenarios (requirements 2.4): for each a script, and a USD scene with the arrays that it works on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ..output import CopiedFile, OutputTree
from ..spec.omniverse import ExampleScenario
from ..spec.package_spec import PackageSpec
from ..templates import render
from .extension_documents import TEMPLATES, WASMTIME
from .extension_names import extension_id
from .inside.scenario import USD_TYPES, is_batched
from .python_signatures import INPUT, OUTPUT, python_identifiers
from .selection import SelectedModule

if TYPE_CHECKING:
    from ..backend.interface.interface import Interface, TensorSpec

FOLDER = PurePosixPath("examples")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
SIZE = 8  # wherever any size goes
MOST = 4096  # elements that are written into a scene; the script fills larger arrays itself


def scenario_files(spec: PackageSpec, chosen: Sequence[SelectedModule]) -> OutputTree:
    """The files under ``examples/``. A scene that is given is copied; what it refers to stays behind."""
    tree = OutputTree()
    prims = prim_names(chosen)
    known = {each.name: each.inspection.interface for each in chosen if each.inspection.interface is not None}
    for scenario in spec.omniverse_config.example_scenarios:
        scene = scene_name(scenario)
        values = {
            "id": extension_id(spec),
            "wasmtime": WASMTIME,
            "file": f"{scenario.name}.py" if " " not in scenario.name else f'"{scenario.name}.py"',
            "name": ascii(scenario.name),
            "description": ascii(scenario.description),
            "documentation": ascii(scenario.documentation),
            "scene": ascii(scene),
            "modules": [f"{name!a}: {_places(prims[name], known[name])!a}" for name in known],
        }
        tree.text(FOLDER / f"{scenario.name}.py", render(TEMPLATES, "example.py.j2", **values))
        if scenario.scenario_file is not None:
            tree.add(FOLDER / scene, CopiedFile(path=scenario.scenario_file))
        else:
            modules = [_prim(prims[name], name, interface) for name, interface in known.items()]
            about = "\n\n".join(filter(None, (scenario.description, scenario.documentation))) or scenario.name
            tree.text(
                FOLDER / scene, render(TEMPLATES, "scene.usda.j2", documentation=usda_string(about), modules=modules)
            )
    return tree


def scene_name(scenario: ExampleScenario) -> str:
    """What the scene is called in the extension."""
    given = scenario.scenario_file
    return scenario.name + (".usda" if given is None else given.suffix.lower())


def _places(prim: str, interface: Interface) -> dict[str, Any]:
    return {
        "prim": f"/Scenario/{prim}",
        "inputs": attribute_names(interface.inputs, INPUT),
        "outputs": attribute_names(interface.outputs, OUTPUT),
    }


def prim_names(chosen: Sequence[SelectedModule]) -> dict[str, str]:
    """The prim of each module below ``/Scenario``."""
    names = [each.name for each in chosen]
    return dict(zip(names, python_identifiers(names, (), "module")))


def attribute_names(specs: Iterable[TensorSpec], prefix: str) -> dict[str, str]:
    """The attributes of tensors: USD takes for a name what Python takes."""
    names = [each.name for each in specs]
    return dict(zip(names, python_identifiers(names, (), prefix)))


def _prim(prim: str, name: str, interface: Interface) -> dict[str, Any]:
    return {"prim": prim, "name": usda_string(name), "attributes": list(_attributes(interface))}


def _attributes(interface: Interface) -> Iterator[dict[str, str]]:
    batched = is_batched(interface)
    for spec, name in zip(interface.inputs, attribute_names(interface.inputs, INPUT).values()):
        if spec.optional:
            continue
        shape = (1,) * batched + tuple(SIZE if size == -1 else size for size in spec.dims)
        count = math.prod(shape)
        known = count <= MOST
        value = f" = {usda_array(_sample(spec.dtype.name, count))}" if known else ""
        yield {"type": USD_TYPES[spec.dtype.name], "name": f"inputs:{name}", "value": value}
        if known and len(shape) != 1:
            yield {"type": "int[]", "name": f"inputs:{name}:shape", "value": f" = {usda_array(shape)}"}
    for spec, name in zip(interface.outputs, attribute_names(interface.outputs, OUTPUT).values()):
        yield {"type": USD_TYPES[spec.dtype.name], "name": f"outputs:{name}", "value": ""}


def _sample(dtype: str, count: int) -> list[float | int | str]:
    """Values that are not all alike: numbers in steps of a quarter around nought, small whole numbers, words."""
    if dtype == "BYTES":
        return [f"text {i}" for i in range(count)]
    if dtype in ("FP16", "FP32", "FP64"):
        return [(i % 33 - 16) / 4 for i in range(count)]  # exact in each of the three
    return [i % (2 if dtype == "BOOL" else 100) for i in range(count)]


def usda_string(value: str) -> str:
    """A string, whatever it holds."""
    return f'"{"".join(map(_character, value))}"'


def usda_array(values: Iterable[float | int | str]) -> str:
    """An array of numbers, or of strings."""
    return "[" + ", ".join(usda_string(each) if isinstance(each, str) else repr(each) for each in values) + "]"


def _character(each: str) -> str:
    if each in _ESCAPES:
        return _ESCAPES[each]
    return f"\\x{ord(each):02x}" if each < " " or each == "\x7f" else each
