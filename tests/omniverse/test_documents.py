"""What people read shows the spec's texts as they are."""

from __future__ import annotations

import ast
import re
from types import SimpleNamespace
from typing import Any

import pytest
import tomlkit

from portalis.omniverse.documents import WASMTIME
from tests.layout.tree import pyproject

from .conftest import Package

HOSTILE = 'a "quote" | <b>bold</b> `code`\n# heading\n\'\'\' """ ${kit} {{ 1 + 1 }} \\'


def test_the_wasmtime_that_is_asked_for_is_the_projects_own() -> None:
    assert WASMTIME in pyproject()["project"]["dependencies"]


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
    assert r"\{\{ 1 + 1 \}\}" in readme  # shown as it is
    script = ast.parse((package.folder / "examples" / "one.py").read_text())
    assigned = {n.targets[0].id: n.value for n in script.body if isinstance(n, ast.Assign)}  # type: ignore[attr-defined]
    values = {key: ast.literal_eval(assigned[key]) for key in ("NAME", "DESCRIPTION", "DOCUMENTATION", "SCENE")}
    assert values == {"NAME": "one", "DESCRIPTION": HOSTILE, "DOCUMENTATION": HOSTILE, "SCENE": "one.usda"}


def test_the_changelog_has_the_exact_version_as_a_heading_and_the_date_of_the_run(package: Package) -> None:
    package.config["extension_version"] = "3.0.0-beta.2+build.5"  # Kit puts its own build into a version
    package.make()
    assert 'version = "3.0.0-beta.2"\n' in (package.folder / "config" / "extension.toml").read_text()
    assert "\n## [3.0.0-beta.2] - 2024-05-06\n" in (package.folder / "docs" / "CHANGELOG.md").read_text()


def test_integration_notes_are_written_only_when_wanted(package: Package) -> None:
    package.config["dependencies"] = [{"extension_name": "omni.usd"}]
    package.make()
    assert "- `omni.usd`" in (package.folder / "docs" / "integration.md").read_text()
    package.config["generate_integration_docs"] = False
    package.make()
    assert not (package.folder / "docs" / "integration.md").exists()


@pytest.mark.parametrize("integration", ["Simulation", "Renderer", "Tool", "DataProcessor", {"Custom": "mine"}])
@pytest.mark.parametrize("name", ["x", "q\"'\\ \u2028\n```\n# no heading", "class"])
def test_what_stands_in_the_notes_as_code_is_code(package: Package, integration: Any, name: str) -> None:
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


def test_the_binding_in_the_notes_is_one_that_the_simulation_takes(package: Package) -> None:
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
def test_the_readme_says_where_the_libraries_come_from(package: Package, prebundle: bool) -> None:
    empty = package.base / "wheels"
    empty.mkdir()
    package.config |= {"prebundle": prebundle, "wheelhouse": str(empty), "required_kit_version": "107.3"}
    package.make()
    readme = (package.folder / "docs" / "README.md").read_text()
    assert ("They lie in `pip_prebundle`, for Python 3.11" in readme) is prebundle
    assert ("which `omni.kit.pip_archive` brings" in readme) is not prebundle
