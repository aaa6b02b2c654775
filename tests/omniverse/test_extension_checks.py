"""The publishing check has the results of Kit's own check."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portalis.omniverse import extension_checks, kit
from portalis.omniverse.extension_toml import CONFIG
from tests import parts

from .conftest import Package


@pytest.fixture
def folder(package: Package) -> Path:
    package.make()
    return package.folder


def check(folder: Path) -> list[str]:
    """The texts of all findings, each of which must have a remediation."""
    faults = extension_checks.check_extension(folder)
    assert all(each.remediation for each in faults)
    return [str(each) for each in faults]


def replace(path: Path, pattern: str, by: str | Callable[[Any], str]) -> None:
    text, count = re.subn(pattern, by, path.read_text())
    assert count
    path.write_text(text)


def test_a_generated_extension_has_no_findings(folder: Path) -> None:
    assert check(folder) == []


@pytest.mark.parametrize(
    "key", ["version", "title", "description", "category", "readme", "icon", "preview_image", "changelog"]
)
def test_a_missing_key_is_named(folder: Path, key: str) -> None:
    replace(folder / "config" / "extension.toml", rf"(?m)^{key} = .*\n", "")
    assert f"package.{key} is not set" in check(folder)


@pytest.mark.parametrize("name", ["data/icon.png", "data/preview.png", "docs/README.md", "docs/CHANGELOG.md"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (wrong,) = check(folder)
    assert wrong.endswith(f"{name!r}, but the extension has no such file")


def test_a_changelog_without_this_version_is_reported(folder: Path) -> None:
    replace(folder / "docs" / "CHANGELOG.md", r"\[1\.2\.3\]", "[1.2.30]")
    assert check(folder) == ["docs/CHANGELOG.md has no heading with the version 1.2.3"]


def test_a_version_that_is_not_semantic_is_reported(folder: Path) -> None:
    replace(folder / "config" / "extension.toml", '"1.2.3"', '"1.2"')
    assert "expected a semantic version as package.version, got '1.2'" in check(folder)


def test_a_module_that_kit_would_not_find_is_reported(folder: Path) -> None:
    replace(folder / "config" / "extension.toml", 'name = "portalis_ext.two_examples"', 'name = "portalis.other"')
    assert check(folder) == [
        "python.module does not name portalis_ext.two_examples",
        "python.module names portalis.other, but portalis/other/__init__.py is missing",
    ]


def test_a_configuration_that_is_not_toml_is_reported(folder: Path) -> None:
    (folder / "config" / "extension.toml").write_text("[package")
    (wrong,) = check(folder)
    assert wrong.startswith("config/extension.toml cannot be read")


def test_a_reserved_id_is_rejected(folder: Path) -> None:
    renamed = folder.rename(folder.with_name("omni.two"))
    assert "the id omni.two begins with omni., which is reserved for NVIDIA" in check(renamed)


@pytest.mark.parametrize("path", ["/etc/hostname", "../../../../pyproject.toml", "docs", "a\\\\b", "\\u0000"])
def test_a_path_that_leaves_the_extension_or_is_not_a_file_is_reported(folder: Path, path: str) -> None:
    replace(folder / "config" / "extension.toml", r"(?m)^icon = .*$", lambda _: f'icon = "{path}"')
    (wrong,) = check(folder)
    assert wrong.startswith("package.icon names ")
    assert wrong.endswith("but the extension has no such file")


def test_an_image_that_is_not_a_png_is_reported(folder: Path) -> None:
    (folder / "data" / "icon.png").write_bytes(b"GIF89a")
    assert check(folder) == [
        "package.icon names 'data/icon.png', which is not a PNG, the only format that Kit displays"
    ]


def test_a_readme_and_a_changelog_can_be_in_the_configuration_itself(folder: Path) -> None:
    config = folder / "config" / "extension.toml"
    replace(config, r"(?m)^changelog = .*$", lambda _: 'changelog = "# Changes\\n## 1.2.3\\n"')
    replace(config, r"(?m)^readme = .*$", lambda _: 'readme = "# Two\\nexamples"')
    assert check(folder) == []
    replace(config, r"## 1\.2\.3", "## 1.2.4")
    assert check(folder) == ["package.changelog has no heading with the version 1.2.3"]


def test_a_changelog_that_is_not_text_is_reported(folder: Path) -> None:
    (folder / "docs" / "CHANGELOG.md").write_bytes(b"# \xff\xfe")
    (wrong,) = check(folder)
    assert wrong.startswith("docs/CHANGELOG.md is not UTF-8")


def test_tests_that_kit_would_not_find_are_reported(folder: Path) -> None:
    shutil.rmtree(folder / "portalis_ext" / "two_examples" / "tests")
    (wrong,) = check(folder)
    assert "portalis_ext/two_examples/tests/__init__.py, in which Kit looks for tests, is missing" in wrong


def test_a_python_that_no_kit_has_is_reported(folder: Path) -> None:
    replace(folder / "config" / "extension.toml", "cp312", "py3")
    (wrong,) = check(folder)
    assert "names 'py3', which is not the Python of any supported Kit" in wrong


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=9) | st.sampled_from(["docs/README.md", "1.2.3"]),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["version", "title", "description", "category", "readme", "icon", "changelog", "target"])
TABLES = VALUES | st.dictionaries(KEYS, VALUES)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(package=TABLES, python=VALUES, test=VALUES)
def test_any_configuration_is_checked_without_an_exception(folder: Path, package: Any, python: Any, test: Any) -> None:
    table = {"package": package, "python": python, "test": test, "rest": 1}
    (folder / "config" / "extension.toml").write_text(tomlkit.dumps(without_none(table)))
    assert check(folder)  # icon and preview_image are never both present


def without_none(value: Any) -> Any:
    """TOML has no null."""
    if isinstance(value, dict):
        return {key: without_none(each) for key, each in value.items() if each is not None}
    return [without_none(each) for each in value if each is not None] if isinstance(value, list) else value


# damage to an extension, and whether Kit still publishes it; we reject everything that Kit rejects
DAMAGE: dict[str, tuple[bool, Callable[[Path], object]]] = {
    "nothing": (True, lambda _: None),
    **{
        f"no_{key}": (False, lambda folder, key=key: replace(folder / CONFIG, rf"(?m)^{key} = .*\n", ""))  # type: ignore[misc]
        for key in ("title", "description", "category", "readme", "icon", "preview_image", "changelog")
    },
    "empty_title": (False, lambda folder: replace(folder / CONFIG, r"(?m)^title = .*$", 'title = ""')),
    "no_icon_file": (False, lambda folder: (folder / "data" / "icon.png").unlink()),
    "no_readme_file": (False, lambda folder: (folder / "docs" / "README.md").unlink()),
    "no_changelog_file": (False, lambda folder: (folder / "docs" / "CHANGELOG.md").unlink()),
    "other_version": (False, lambda folder: replace(folder / "docs" / "CHANGELOG.md", r"\[1\.2\.3\]", "[1.2.4]")),
    "no_date": (True, lambda folder: replace(folder / "docs" / "CHANGELOG.md", r" - \d+-\d+-\d+", "")),
    "no_brackets": (True, lambda folder: replace(folder / "docs" / "CHANGELOG.md", r"\[1\.2\.3\]", "1.2.3")),
    "with_build": (False, lambda folder: version(folder, "1.2.3+build.5")),
    "build_of_kits": (True, lambda folder: replace(folder / CONFIG, r'"1\.2\.3"', '"1.2.3+build.5"')),
    "prerelease": (True, lambda folder: version(folder, "1.2.3-rc.1")),
}


def version(folder: Path, new: str) -> None:
    replace(folder / CONFIG, r'(?m)^version = "1\.2\.3"', f'version = "{new}"')
    replace(folder / "docs" / "CHANGELOG.md", r"1\.2\.3", new)


@pytest.mark.kit
def test_kits_own_verification_has_the_same_result(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    python = parts.kit()
    monkeypatch.setenv("OMNI_KIT_ACCEPT_EULA", "YES")
    package.config["extension_name"] = "acme.tool"
    package.make()
    for name, (_, damage) in DAMAGE.items():
        copy = package.base / "exts" / f"acme.{name}"
        shutil.copytree(package.folder, copy)
        # a module that is not named by the id would be another finding
        (copy / "acme" / "tool").rename(copy / "acme" / name)
        replace(copy / CONFIG, r'name = "acme\.tool"', f'name = "acme.{name}"')
        damage(copy)
    script = package.input("verify.py", VERIFY)
    answer = package.base / "answer.json"
    options = kit.kit_arguments(package.base, package.base / "exts", "omni.kit.registry.nucleus", [script, str(answer)])
    started = kit.run_kit(python, options, os.environ)
    assert answer.is_file(), started.log
    results = json.loads(answer.read_text())
    ours = {name: not extension_checks.check_extension(package.base / "exts" / f"acme.{name}") for name in DAMAGE}
    assert results == {name: good for name, (good, _) in DAMAGE.items()}
    assert ours == results


VERIFY = b"""
import json, sys
import omni.kit.app
from omni.kit.registry.nucleus import verify_extension_for_publishing
manager = omni.kit.app.get_app().get_extension_manager()
results = {
    each["name"][5:]: verify_extension_for_publishing(manager.get_extension_dict(each["id"]))[0]
    for each in manager.get_extensions()
    if each["name"].startswith("acme.")
}
open(sys.argv[1], "w").write(json.dumps(results))
"""
