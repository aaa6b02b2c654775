"""``config/extension.toml`` contains the spec's texts as data, regardless of their content."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from portalis.backend import Limits
from portalis.omniverse.extension_toml import LIMITS, extension_toml_text
from portalis.spec.package_spec import PackageSpec

from .conftest import Package


def parsed(spec: PackageSpec) -> dict[str, Any]:
    table: dict[str, Any] = tomlkit.parse(extension_toml_text(spec)).unwrap()
    return table


def test_it_has_the_keys_that_kit_and_its_registry_require(package: Package) -> None:
    package.spec["distribution_config"] = {
        "publish_metadata": {
            "author": "A <a@example.org>",
            "maintainer": "A <a@example.org>",
            "repository": "https://example.org/repo",
            "keywords": ["gelu", "webassembly"],
        }
    }
    table = parsed(package.read())
    assert table["package"] == {
        "version": "1.2.3",
        "title": "two-examples",
        "description": "WebAssembly modules of two-examples",
        "category": "Portalis",
        "keywords": ["portalis", "webassembly", "gelu"],
        "authors": ["A <a@example.org>"],
        "repository": "https://example.org/repo",
        "readme": "docs/README.md",
        "changelog": "docs/CHANGELOG.md",
        "icon": "data/icon.png",
        "preview_image": "data/preview.png",
        "target": {"kit": ["110.0"], "platform": ["linux-x86_64"], "python": ["cp312"]},
    }
    assert table["python"] == {"module": [{"name": "portalis_ext.two_examples"}]}
    assert table["test"] == [{"timeout": 300, "args": ["--no-window"]}]
    assert table["documentation"] == {"pages": ["docs/README.md", "docs/integration.md", "docs/CHANGELOG.md"]}
    assert table["settings"]["exts"] == {"portalis_ext.two_examples": {"load_on_startup": True, **LIMITS}}


def test_the_limits_are_the_runtimes_own_defaults() -> None:
    assert dict(LIMITS) == dataclasses.asdict(Limits())


def test_dependencies_are_written_as_kit_reads_versions(package: Package) -> None:
    package.config["dependencies"] = [
        {"extension_name": "omni.a", "version_requirement": "^1.0.0"},
        {"extension_name": "omni.b", "version_requirement": "= 1.2.3"},
        {"extension_name": "omni.c", "version_requirement": "*"},
        {"extension_name": "omni.d"},
        {"extension_name": "omni.e", "version_requirement": "2.1"},
    ]
    assert parsed(package.read())["dependencies"] == {
        "omni.kit.pip_archive": {"optional": True},
        "omni.a": {"version": "1.0.0"},
        "omni.b": {"version": "1.2.3", "exact": True},
        "omni.c": {},
        "omni.d": {},
        "omni.e": {"version": "2.1"},
    }


def test_title_and_category_are_single_lines(package: Package) -> None:
    package.config |= {"extension_title": " A\n title ", "extension_category": "Simulation\t"}
    assert {key: parsed(package.read())["package"][key] for key in ("title", "category")} == {
        "title": "A title",
        "category": "Simulation",
    }


@pytest.mark.parametrize(
    ("prebundle", "pythons"), [(True, ["cp310"]), (False, ["cp310", "cp311", "cp312"])], ids=["wheels", "none"]
)
def test_the_target_has_each_kit_once_and_only_the_python_of_the_wheels(
    package: Package, prebundle: bool, pythons: list[str]
) -> None:
    package.config |= {
        "required_kit_version": "106.5",
        "compatible_kit_versions": ["106.5", "106.5.1", "107.3", "109.0.2"],
        "prebundle": prebundle,
    }
    assert parsed(package.read())["package"]["target"] == {
        "kit": ["106.5", "107.3", "109.0"],
        "platform": ["linux-x86_64"],
        "python": pythons,
    }


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_description_is_read_back_as_it_was_written(text: str) -> None:
    spec = PackageSpec.model_validate_json(
        '{"package_name": "p", "package_version": "1.0.0", "output_directory": "out", "wasm_binaries": ["m.wasm"]}'
    )
    changed = spec.model_copy(update={"description": text})
    assert parsed(changed)["package"]["description"] == (text.strip() or "WebAssembly modules of p")


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(title=WORDS, category=WORDS, keywords=st.lists(WORDS), author=WORDS, repository=WORDS)
def test_any_text_becomes_one_line_of_data(
    title: str, category: str, keywords: list[str], author: str, repository: str
) -> None:
    table = {
        "package_name": "p",
        "package_version": "1.0.0",
        "output_directory": "out",
        "wasm_binaries": ["m.wasm"],
        "omniverse_config": {"extension_title": title, "extension_category": category},
        "distribution_config": {"publish_metadata": {"author": author, "keywords": keywords, "repository": repository}},
    }
    package = parsed(PackageSpec.model_validate_json(json.dumps(table)))["package"]
    assert package["title"] == (one_line(title) or "p")
    assert package["category"] == (one_line(category) or "Portalis")
    assert package["keywords"][2:] == [
        each for each in dict.fromkeys(map(one_line, keywords)) if each not in ("", "portalis", "webassembly")
    ]
    assert package["authors"] == list(filter(None, [one_line(author)]))
    assert package["repository"] == one_line(repository)


def one_line(text: str) -> str:
    return " ".join("".join(" " if each < " " or each == "\x7f" else each for each in text).split())
