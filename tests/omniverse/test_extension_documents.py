"""The documentation shows the spec's texts literally."""

from __future__ import annotations

import ast
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tomlkit
import wasmtime

from portalis.backend import Program
from portalis.backend.constants import WASMTIME_REQUIREMENT
from tests.backend.guests import dlpack, tensor
from tests.layout.tree import pyproject

from .conftest import Package

HOSTILE = 'a "quote" | <b>bold</b> `code`\n# heading\n\'\'\' """ ${kit} {{ 1 + 1 }} \\'


def test_the_required_wasmtime_is_the_projects_own() -> None:
    assert WASMTIME_REQUIREMENT in pyproject()["project"]["dependencies"]


def test_a_hostile_description_stays_in_its_place(package: Package) -> None:
    package.binaries[0]["description"] = HOSTILE
    package.config |= {
        "extension_description": HOSTILE,
        "example_scenarios": [{"name": "one", "description": HOSTILE, "documentation": HOSTILE}],
        "integration_type": {"Custom": HOSTILE},
    }
    package.make()
    readme = (package.folder / "docs" / "README.md").read_text()
    assert "<b>" not in readme.replace("\\<b", "")
    assert [line.split(" | ")[0] for line in readme.splitlines() if line.startswith("| ")] == [
        "| module", "| gelu", "| softmax",
    ]  # fmt: skip
    assert [line for line in readme.splitlines() if line.startswith("# ")] == ["# two-examples"]
    assert r"\{\{ 1 + 1 \}\}" in readme  # shown literally
    script = ast.parse((package.folder / "examples" / "one.py").read_text())
    assigned = {n.targets[0].id: n.value for n in script.body if isinstance(n, ast.Assign)}  # type: ignore[attr-defined]
    values = {key: ast.literal_eval(assigned[key]) for key in ("NAME", "DESCRIPTION", "DOCUMENTATION", "SCENE")}
    assert values == {"NAME": "one", "DESCRIPTION": HOSTILE, "DOCUMENTATION": HOSTILE, "SCENE": "one.usda"}


def test_the_changelog_has_the_exact_version_as_a_heading_and_the_date_of_the_run(package: Package) -> None:
    package.config["extension_version"] = "3.0.0-beta.2+build.5"  # Kit sets its own build metadata
    package.make()
    assert 'version = "3.0.0-beta.2"\n' in (package.folder / "config" / "extension.toml").read_text()
    assert "\n## [3.0.0-beta.2] - 2024-05-06\n" in (package.folder / "docs" / "CHANGELOG.md").read_text()


def test_integration_notes_are_written_only_on_request(package: Package) -> None:
    package.config["dependencies"] = [{"extension_name": "omni.usd"}]
    package.make()
    assert "- `omni.usd`" in (package.folder / "docs" / "integration.md").read_text()
    package.config["generate_integration_docs"] = False
    package.make()
    assert not (package.folder / "docs" / "integration.md").exists()


@pytest.mark.parametrize("integration", ["Simulation", "Renderer", "Tool", "DataProcessor", {"Custom": "mine"}])
@pytest.mark.parametrize("name", ["x", "q\"'\\ \u2028\n```\n# no heading", "class"])
def test_code_in_the_notes_is_valid(package: Package, integration: Any, name: str) -> None:
    interface = {
        "convention": "elementwise",
        "entry": "gelu",
        "inputs": [{"name": name, "dtype": "FP32", "dims": [-1]}],
        "outputs": [{"name": "y", "dtype": "FP32", "dims": [-1]}],
    }
    package.binaries[0]["interface"] = interface
    package.config |= {"integration_type": integration, "omnigraph_nodes": True, "extension_title": 'A "T" `c`'}
    package.make()
    for document in ("README.md", "integration.md"):
        text = (package.folder / "docs" / document).read_text()
        assert len(re.findall(r"(?m)^```", text)) % 2 == 0
        for kind, code in re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", text):
            if kind == "python":
                compile(code, document, "exec")
            else:
                assert (kind, tomlkit.parse(code) is not None) == ("toml", True)
        assert "# no heading" not in text.splitlines()


def test_the_binding_in_the_notes_is_valid(package: Package) -> None:
    package.config["integration_type"] = "Simulation"
    package.make()
    text = (package.folder / "docs" / "integration.md").read_text()
    (code,) = re.findall(r"(?ms)^```python\n(.*?)^```$", text)
    (table,) = [each for each in re.findall(r"(?ms)^```toml\n(.*?)^```$", text) if "simulation" in each]
    bound: list[tuple[Any, ...]] = []
    lines = [line for line in code.splitlines() if "bind(" in line]
    spy = SimpleNamespace(bind=lambda module, inputs, outputs: bound.append((module, inputs, outputs)))
    exec(compile("\n".join(lines), "notes", "exec"), {"simulation": spy})
    setting = tomlkit.parse(table).unwrap()["settings"]["exts"]["portalis_ext.two_examples"]["simulation"]["gelu"]
    assert bound == [("gelu", setting["inputs"], setting["outputs"])]
    assert setting == {"inputs": {"x": "/World/Data.inputs:x"}, "outputs": {"y": "/World/Data.outputs:y"}}


@pytest.mark.parametrize("prebundle", [True, False])
def test_the_readme_describes_the_origin_of_the_libraries(package: Package, prebundle: bool) -> None:
    empty = package.base / "wheels"
    empty.mkdir()
    package.config |= {"prebundle": prebundle, "wheelhouse": str(empty), "required_kit_version": "107.3"}
    package.make()
    readme = (package.folder / "docs" / "README.md").read_text()
    assert ("`pip_prebundle` contains them for Python 3.11" in readme) is prebundle
    assert ("which `omni.kit.pip_archive` provides" in readme) is not prebundle


# -- facts: the documents match the generated extension ------------------------------------------------------------


def batched(package: Package) -> None:
    """A module with batches of images and of strings, in addition to the examples."""
    inputs = [tensor("350", dims=(-1, 3)), tensor("text", "BYTES", ()), tensor("scale", dims=(1,), optional=True)]
    module = dlpack("(i32.const 0)", inputs=inputs, outputs=[tensor("y", "BF16", (2,))], batch=8)
    package.binaries = [{"path": package.input("images.wasm", module), "name": "1mages"}, *package.binaries]


def notes(package: Package, name: str = "integration.md") -> str:
    return (package.folder / "docs" / name).read_text()


def python_of(text: str) -> list[str]:
    return re.findall(r"(?ms)^```python\n(.*?)^```$", text)


def test_shapes_have_a_batch_dimension_if_the_arrays_do(package: Package) -> None:
    batched(package)
    package.make()
    row = next(line for line in notes(package, "README.md").splitlines() if line.startswith("| 1mages"))
    assert "350 FP32 [-1, -1, 3], text BYTES [-1], scale FP32 [-1, 1] | y BF16 [-1, 2]" in row.replace("\\", "")
    assert "The first size of 1mages is the batch size." in notes(package, "README.md")
    section = notes(package).split("### 1mages")[1].split("###")[0].replace("\\", "")
    assert "inputs: 350 FP32 [-1, -1, 3], text BYTES [-1]" in section and "at most 8 rows" in section
    assert "at most" not in notes(package).split("### gelu")[1].split("###")[0]


@pytest.mark.parametrize("example", [True, False])
@pytest.mark.parametrize("integration", ["Simulation", "DataProcessor"])
def test_the_attributes_in_the_notes_are_those_of_the_scene(package: Package, integration: str, example: bool) -> None:
    batched(package)
    package.config |= {"integration_type": integration, "example_scenarios": [{"name": "all three"}] * example}
    package.make()
    (code,) = python_of(notes(package))
    found = set(re.findall(r"'(/[^']*)'", code))
    if not example:
        assert found == {"/World/Data.inputs:in_350", "/World/Data.inputs:text", "/World/Data.outputs:y"}
        return
    scene = (package.folder / "examples" / "all three.usda").read_text()
    prim = scene.split('def Scope "module_1mages"')[1].split("def Scope")[0]
    there = {f"/Scenario/module_1mages.{name}" for name in re.findall(r"\] (\S+)", prim)}
    assert found <= there and len(found) == 3
    if integration == "DataProcessor":
        (opened,) = re.findall(r"Usd\.Stage\.Open\('(.*)'\)", code)
        assert (package.folder / opened).is_file()


def test_the_arrays_of_a_hook_match_the_module(package: Package) -> None:
    batched(package)
    package.config["integration_type"] = "Renderer"
    package.make()
    (code,) = python_of(notes(package))
    body = code[code.index("def give") : code.index("def take")]
    names: dict[str, Any] = {"np": np}
    exec(compile(body, "notes", "exec"), names)
    given = names["give"](0.0)
    module = Program.load(package.folder / "wasm_modules" / "1mages.wasm")
    try:
        assert list(module.run(given)) == ["y"]  # dtypes and shapes are checked before the guest is called
    finally:
        module.close()


def test_the_call_in_the_readme_has_the_parameters_of_the_function(package: Package) -> None:
    batched(package)
    package.make()
    (line,) = [line for line in python_of(notes(package, "README.md"))[0].splitlines() if line.startswith("y = ")]
    call = ast.parse(line.partition("#")[0]).body[0].value  # type: ignore[attr-defined]
    (models,) = package.folder.rglob("models.py")
    functions = {each.name: each for each in ast.parse(models.read_text()).body if isinstance(each, ast.FunctionDef)}
    function = functions[call.func.attr]
    assert [each.id for each in call.args] == [each.arg for each in function.args.args] == ["in_350", "text"]


def test_only_modules_that_are_nodes_are_described_as_nodes(package: Package) -> None:
    batched(package)  # OmniGraph has no BF16
    package.config["omnigraph_nodes"] = True
    package.make()
    section = notes(package).split("## In OmniGraph")[1].split("##")[0]
    assert "Node types are gelu, softmax," in section
    made = {each.stem for each in package.folder.rglob("Ogn*.ogn")}
    assert made == {"OgnGelu", "OgnSoftmax"}
    package.binaries = package.binaries[:1]
    package.make()
    assert "OmniGraph" not in notes(package)


@pytest.mark.parametrize("count", [1, 2])
def test_the_changelog_counts_the_packaged_modules(package: Package, count: int) -> None:
    package.binaries = package.binaries[:count]
    package.module("blocked", bytes(wasmtime.wat2wasm('(module (import "a" "b" (func)))')))
    package.make()
    assert f"with {count} WebAssembly module{'' if count == 1 else 's'}." in notes(package, "CHANGELOG.md")
    assert len(list((package.folder / "wasm_modules").iterdir())) == count
