"""The publish check finds what Kit's own would find."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from portalis.omniverse import publish_check

from .conftest import Package


@pytest.fixture
def folder(package: Package) -> Path:
    package.make()
    return package.folder


def replace(path: Path, pattern: str, by: str) -> None:
    text, count = re.subn(pattern, by, path.read_text())
    assert count
    path.write_text(text)


def test_a_generated_extension_is_in_order(folder: Path) -> None:
    assert publish_check.check(folder) == []


@pytest.mark.parametrize(
    "key", ["version", "title", "description", "category", "readme", "icon", "preview_image", "changelog"]
)
def test_a_missing_key_is_named(folder: Path, key: str) -> None:
    replace(folder / "config" / "extension.toml", rf"(?m)^{key} = .*\n", "")
    assert f"package.{key} is not set" in publish_check.check(folder)


@pytest.mark.parametrize("name", ["data/icon.png", "data/preview.png", "docs/README.md", "docs/CHANGELOG.md"])
def test_a_file_that_is_not_there_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (wrong,) = publish_check.check(folder)
    assert wrong.endswith(f"{name!r}, and there is no such file")


def test_a_changelog_without_this_version_is_told(folder: Path) -> None:
    replace(folder / "docs" / "CHANGELOG.md", r"\[1\.2\.3\]", "[1.2.30]")
    assert publish_check.check(folder) == ["docs/CHANGELOG.md has no heading with the version 1.2.3"]


def test_a_version_that_is_not_semantic_is_told(folder: Path) -> None:
    replace(folder / "config" / "extension.toml", '"1.2.3"', '"1.2"')
    assert "package.version is '1.2', and no semantic version" in publish_check.check(folder)


def test_a_module_that_kit_would_not_find_is_told(folder: Path) -> None:
    replace(folder / "config" / "extension.toml", 'name = "portalis_ext.two_examples"', 'name = "portalis.other"')
    assert publish_check.check(folder) == [
        "python.module does not name portalis_ext.two_examples",
        "python.module names portalis.other, and portalis/other/__init__.py is not there",
    ]


def test_a_configuration_that_is_no_toml_is_told(folder: Path) -> None:
    (folder / "config" / "extension.toml").write_text("[package")
    (wrong,) = publish_check.check(folder)
    assert wrong.startswith("config/extension.toml cannot be read")


def test_an_id_of_nvidias_is_refused(folder: Path) -> None:
    renamed = folder.rename(folder.with_name("omni.two"))
    assert "the id omni.two begins with omni., which is NVIDIA's own" in publish_check.check(renamed)
