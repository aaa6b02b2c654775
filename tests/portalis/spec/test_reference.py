"""docs/spec.md has every key with its default, and its examples are specs; the committed schemas are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomlkit
import wasmtime
from pydantic import BaseModel

from portalis.contracts.json_schemas import SCHEMAS, schema_text
from portalis.spec import PackageSpec, read_spec
from portalis.spec.explain import _types_at
from portalis.spec.paths import iter_paths, resolve_path
from tests.parts import ROOT
from tests.portalis.conftest import ADD

PAGE = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPEC_SCHEMA = jsonschema.Draft202012Validator(json.loads(schema_text("spec")))
EXAMPLES = [
    text
    for page in (PAGE, README)
    for text in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    if "package_name" in text
]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_committed_schema_is_that_of_the_code(name: str) -> None:
    committed = ROOT / "docs" / "schemas" / f"{name}.schema.json"
    assert committed.read_text(encoding="utf-8") == schema_text(name), f"portalis schema {name} > {committed}"
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text(name)))


def make_inputs(spec: PackageSpec, folder: Path) -> None:
    """Every file and folder that the spec names."""
    for place, path in iter_paths(spec):
        full = resolve_path(path, folder)
        full.parent.mkdir(parents=True, exist_ok=True)
        if place[-1] in ("workspace_root", "wheelhouse"):
            full.mkdir(exist_ok=True)
        elif place != ("output_directory",):
            full.write_bytes(wasmtime.wat2wasm(ADD))


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_valid_for_the_schema_and_for_the_reader(text: str, tmp_path: Path) -> None:
    data = tomlkit.parse(text).unwrap()
    SPEC_SCHEMA.validate(data)
    make_inputs(PackageSpec.model_validate_json(json.dumps(data)), tmp_path)
    path = tmp_path / "portalis.toml"
    path.write_text(text, encoding="utf-8")
    dumped = read_spec(path).model_dump(mode="json", exclude_unset=True)
    assert dumped["package_name"] == data["package_name"]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 2


SECTIONS = dict(
    re.findall(r"^#{2,3} (Top-level keys|`[a-z_.\[\]]+`)\n(.*?)(?=^## |^### |\Z)", PAGE, re.DOTALL | re.MULTILINE)
)


@pytest.mark.parametrize("title", SECTIONS)
def test_a_table_has_every_key_of_its_structure_with_its_default(title: str) -> None:
    place = (
        () if title == "Top-level keys" else tuple(part for key in title.strip("`").split(".") for part in steps(key))
    )
    (model,) = {
        kind for kind in _types_at(PackageSpec, place) if isinstance(kind, type) and issubclass(kind, BaseModel)
    }
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.+) \|$", SECTIONS[title], re.MULTILINE)
    assert [(key, default) for key, default, _ in rows] == [
        (key, default_text(field)) for key, field in model.model_fields.items()
    ]


def test_every_large_structure_has_a_table() -> None:
    assert len(SECTIONS) == 16


def steps(key: str) -> list[str | int]:
    return [key[:-2], 0] if key.endswith("[]") else [key]


def default_text(field: Any) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None or isinstance(default, BaseModel) or default in ("", (), {}):
        return ""
    if isinstance(default, tuple):
        default = [str(each) for each in default]
    return f"`{json.dumps(default if isinstance(default, (bool, int, list)) else str(default))}`"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"wasm_binaries": [3]}, {"wasm_binaries": ["a.wasm", {"path": "b.wasm"}]}),
        ({"build_metadata": 3}, {"build_metadata": "build.json"}),
        ({"mode": "SCRIPT"}, {"mode": "Script"}),
        ({"package_version": "1.0"}, {"package_version": "1.0.0-rc.1+b"}),
        (
            {"container_config": {"health_check_interval": "soon"}},
            {"container_config": {"health_check_interval": "1m30s"}},
        ),
        ({"container_config": {"health_check_interval": ""}}, {"container_config": {"health_check_interval": 5}}),
        ({"container_config": {"memory_limit": "2GB"}}, {"container_config": {"memory_limit": "2Gi"}}),
        ({"triton_config": {"platform": "Wasm"}}, {"triton_config": {"platform": "Python"}}),
        ({"triton_config": {"platform": {"Latest": 1}}}, {"triton_config": {"platform": {"Custom": "x"}}}),
        (
            {"triton_config": {"version_policy": {"policy": "Latest"}}},
            {"triton_config": {"version_policy": {"policy": {"Latest": 1}}}},
        ),
        (
            {"triton_config": {"inputs": [{"name": "x", "data_type": "FP32", "dims": [0]}]}},
            {"triton_config": {"inputs": [{"name": "x", "data_type": "FP32", "dims": [-1, 1]}]}},
        ),
        ({"package-name": 1}, {}),
    ],
)
def test_the_schema_takes_what_the_reader_takes_and_refuses_what_it_refuses(
    wrong: dict[str, Any], right: dict[str, Any]
) -> None:
    smallest = {"package_name": "a", "package_version": "1.0.0", "output_directory": "o", "wasm_binaries": ["a.wasm"]}
    assert SPEC_SCHEMA.is_valid(smallest | right)
    assert not SPEC_SCHEMA.is_valid(smallest | wrong)
    PackageSpec.model_validate_json(json.dumps(smallest | right))
    with pytest.raises(ValueError, match="validation error"):
        PackageSpec.model_validate_json(json.dumps(smallest | wrong))
