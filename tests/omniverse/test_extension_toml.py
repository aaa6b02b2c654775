"""``config/extension.toml`` is data, whatever the spec's texts hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from portalis.backend import Limits
from portalis.omniverse.extension_toml import LIMITS, extension_toml
from portalis.spec.package import PackageSpec

from .conftest import Package


def parsed(spec: PackageSpec) -> dict[str, Any]:
    table: dict[str, Any] = tomlkit.parse(extension_toml(spec)).unwrap()
    return table


def test_it_has_what_kit_and_its_registry_ask_for(package: Package) -> None:
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
    }
    assert table["python"] == {"module": [{"name": "portalis_ext.two_examples"}]}
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


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_description_is_read_back_as_it_was_written(text: str) -> None:
    spec = PackageSpec.model_validate_json(
        '{"package_name": "p", "package_version": "1.0.0", "output_directory": "out", "wasm_binaries": ["m.wasm"]}'
    )
    changed = spec.model_copy(update={"description": text})
    assert parsed(changed)["package"]["description"] == (text.strip() or "WebAssembly modules of p")
