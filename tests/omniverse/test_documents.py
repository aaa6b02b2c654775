"""What people read shows the spec's texts as they are."""

from __future__ import annotations

import ast

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
    values = {n.targets[0].id: ast.literal_eval(n.value) for n in script.body if isinstance(n, ast.Assign)}  # type: ignore[attr-defined]
    assert values == {"NAME": "one", "DESCRIPTION": HOSTILE, "DOCUMENTATION": HOSTILE, "SCENE": None}


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
