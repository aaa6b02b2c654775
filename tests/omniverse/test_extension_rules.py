"""Names, versions and images that Kit does not accept are reported before files are written."""

from __future__ import annotations

from typing import Any

import pytest

from portalis.omniverse import extension_names as names
from portalis.omniverse.kit_target import KIT_PYTHONS

from .conftest import Package


@pytest.mark.parametrize("identifier", ["portalis_ext.two_examples", "acme.a.b_c", "acme.omni", "a1.b2"])
def test_valid_ids_are_accepted(identifier: str) -> None:
    assert names.extension_id_problem(identifier) is None


@pytest.mark.parametrize(
    ("identifier", "why"),
    [
        ("omni.mine", "begins with omni."),
        ("OMNI.mine", "begins with omni."),
        ("omni", "begins with omni."),
        ("portalis.tool", "would hide the Python package portalis"),
        ("acme.Mine", "has capitals"),
        ("acme.my-tool", "is not a valid Python module name: 'my-tool'"),
        ("acme.3d", "is not a valid Python module name: '3d'"),
        ("acme.class", "is not a valid Python module name: 'class'"),
        ("acme..tool", "is not a valid Python module name: ''"),
        ("acme.", "is not a valid Python module name: ''"),
        ("../acme.tool", "is not a valid Python module name"),
        ("acme.t\u00f6ol", "is not a valid Python module name"),
        ('acme."]\nx', "is not a valid Python module name"),
        ("acme", "has no dot"),
        ("config.tool", "is a directory of every extension"),
        ("numpy.tool", "would hide the Python package numpy"),
        ("json.tool", "would hide the Python package json"),
        ("acme." + "a" * 100, "is longer than 100 characters"),
    ],
)
def test_an_invalid_id_is_reported_with_the_reason(package: Package, identifier: str, why: str) -> None:
    package.config["extension_name"] = identifier
    ((where, message),) = package.problems()
    assert where == "omniverse_config.extension_name"
    assert why in message
    assert repr(identifier) in message


@pytest.mark.parametrize(("name", "identifier"), [("a-b.c", "portalis_ext.a_b_c"), ("plain", "portalis_ext.plain")])
def test_the_default_id_is_derived_from_the_packages_name(package: Package, name: str, identifier: str) -> None:
    package.spec["package_name"] = name
    assert names.extension_id(package.read()) == identifier
    assert package.problems() == []


def test_a_package_name_from_which_no_id_follows_is_named(package: Package) -> None:
    package.spec["package_name"] = "My Package"
    ((_, message),) = package.problems()
    assert message.startswith("'portalis_ext.My Package', derived from package_name 'My Package', has capitals")


@pytest.mark.parametrize("version", ["106.0", "107.3", "108.0", "109.0.2", "110.4"])
def test_kit_106_to_110_are_supported(package: Package, version: str) -> None:
    package.config |= {"required_kit_version": version, "compatible_kit_versions": [version]}
    assert package.problems() == []


@pytest.mark.parametrize("version", ["105.1", "111.0", "10.0", "2023.1"])
def test_other_versions_of_kit_are_rejected_in_every_key(package: Package, version: str) -> None:
    package.config |= {"required_kit_version": version, "compatible_kit_versions": ["110.0", version]}
    assert [where for where, _ in package.problems()] == [
        "omniverse_config.required_kit_version",
        "omniverse_config.compatible_kit_versions[1]",
    ]
    assert all("is outside 106 to 110" in message for _, message in package.problems())


def test_the_supported_versions_are_those_whose_python_is_known() -> None:
    assert set(KIT_PYTHONS) == set(range(106, 110 + 1))


@pytest.mark.parametrize(("prebundle", "refused"), [(True, ["[1]"]), (False, [])])
def test_a_kit_with_a_different_python_than_the_wheels_is_rejected(
    package: Package, prebundle: bool, refused: list[str]
) -> None:
    package.config |= {
        "required_kit_version": "108.0",
        "compatible_kit_versions": ["110.0", "107.3"],
        "prebundle": prebundle,
    }
    found = package.problems()
    assert [where for where, _ in found] == [f"omniverse_config.compatible_kit_versions{each}" for each in refused]
    assert all("has Python 3.11, but the bundled wheels are for Python 3.12 of Kit 108.0" in why for _, why in found)


def test_an_image_that_is_not_a_png_is_rejected_regardless_of_its_name(package: Package) -> None:
    package.config |= {
        "extension_icon": package.input("icon.png", b"\xff\xd8\xff\xe0 JPEG"),
        "extension_preview": package.input("preview.png", b""),
    }
    assert [(where, "is not a PNG" in message) for where, message in package.problems()] == [
        ("omniverse_config.extension_icon", True),
        ("omniverse_config.extension_preview", True),
    ]


def test_a_missing_image_is_reported(package: Package) -> None:
    icon = package.base / "gone.png"
    spec = package.read()
    config = spec.omniverse_config.model_copy(update={"extension_icon": icon})
    from portalis.omniverse import extension_target as target

    (problem,) = target.spec_problems(spec.model_copy(update={"omniverse_config": config}))
    assert "cannot be read: No such file or directory" in problem.message


@pytest.mark.parametrize("name", ["a/b", "..", "con", "NUL.x", "a b", "a\nb", 'q"', "x" * 101])
def test_a_module_name_that_is_not_a_file_name_is_rejected(package: Package, name: str) -> None:
    package.binaries[1]["name"] = name
    assert [where for where, _ in package.problems()] == ["wasm_binaries[1].name"]


def test_names_that_are_equal_on_windows_are_rejected(package: Package) -> None:
    package.binaries[1]["name"] = "GELU"
    assert package.problems() == [("wasm_binaries[1].name", "'GELU' is the same file as 'gelu' on Windows")]


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "trailing.", "new\nline", "aux"])
def test_a_scenario_name_that_is_not_a_file_name_is_rejected(package: Package, name: str) -> None:
    package.config["example_scenarios"] = [{"name": name}]
    assert [where for where, _ in package.problems()] == ["omniverse_config.example_scenarios[0].name"]


def test_a_scene_that_is_not_usd_is_rejected(package: Package) -> None:
    package.config["example_scenarios"] = [{"name": "a", "scenario_file": package.input("scene.obj", b"")}]
    ((where, message),) = package.problems()
    assert where == "omniverse_config.example_scenarios[0].scenario_file"
    assert "is not a USD scene" in message


@pytest.mark.parametrize(
    ("dependency", "where"),
    [
        ({"extension_name": "filter:platform"}, "extension_name"),
        ({"extension_name": "a/b"}, "extension_name"),
        ({"extension_name": "a++"}, "extension_name"),
        ({"extension_name": "portalis_ext.two_examples"}, "extension_name"),
        ({"extension_name": "omni.a", "version_requirement": ">=2.0,<3"}, "version_requirement"),
        ({"extension_name": "omni.a", "version_requirement": "~1.1"}, "version_requirement"),
        ({"extension_name": "omni.a", "version_requirement": '1.0"'}, "version_requirement"),
    ],
)
def test_an_invalid_dependency_is_rejected(package: Package, dependency: dict[str, Any], where: str) -> None:
    package.config["dependencies"] = [dependency]
    assert [at for at, _ in package.problems()] == [f"omniverse_config.dependencies[0].{where}"]
