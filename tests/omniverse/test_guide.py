"""The guide, docs/omniverse.md, matches the code."""

from __future__ import annotations

import re

import pytest
import tomlkit

from portalis.omniverse.kit_target import KIT_PYTHONS
from tests.parts import ROOT

from .conftest import Package

GUIDE = (ROOT / "docs" / "omniverse.md").read_text(encoding="utf-8")


@pytest.fixture
def described(package: Package) -> Package:
    """The package of the guide's spec, without wheels."""
    (text, *_) = re.findall(r"(?ms)^```toml\n(# portalis\.toml.*?)^```$", GUIDE)
    table = tomlkit.parse(text).unwrap()
    package.config = {**table.pop("omniverse_config"), "prebundle": False, "registry": True}
    package.spec = {key: value for key, value in table.items() if key not in ("wasm_binaries", "output_directory")}
    package.make()
    return package


def test_its_tree_is_the_generated_one(described: Package) -> None:
    (tree,) = re.findall(r"(?ms)^```\nout/omniverse/\n(.*?)^```$", GUIDE)
    folder, place = described.output / "omniverse", ""
    names = []
    for line in tree.splitlines():
        indent, reported = len(line) - len(line.lstrip()), re.split(r"\s{2,}", line.strip())[0]
        place = place if indent == 12 else "exts/acme.activations/" if indent == 8 else ""
        names += [f"{place}{name}" for name in reported.split(", ")]
        if indent == 8 and reported == "acme/activations/":
            place = "exts/acme.activations/acme/activations/"
    missing = [name for name in names if not (folder / name.replace("…", "registry.gz")).exists()]
    assert missing == [f"exts/acme.activations/{each}/" for each in ("pip_prebundle", "PACKAGE-LICENSES")]
    assert len(names) > 12


def test_its_pythons_are_those_of_the_code() -> None:
    rows = re.findall(r"(?m)^\| (\d[\d, ]+) \| (3\.\d+) \|$", GUIDE)
    assert {int(kit): python for kits, python in rows for kit in kits.split(", ")} == KIT_PYTHONS


def test_its_other_toml_is_toml() -> None:
    blocks = re.findall(r"(?ms)^```toml\n(.*?)^```$", GUIDE)
    assert len(blocks) == 2
    assert tomlkit.parse(blocks[1]).unwrap()["dependencies"] == {"acme.activations": {}}
