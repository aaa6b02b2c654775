"""Generated data files contain no character that hides or reorders text, and have the same data."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import tomlkit
import wasmtime
import yaml
from hypothesis import given
from hypothesis import strategies as st

from portalis.escaping import HIDDEN_CHARACTERS, escape_hidden, has_hidden
from portalis.model_repository_gen import pbtxt
from portalis.nim.quoting import Quoter
from portalis.yaml_writer import yaml_document

from .conftest import ADD, Cli

EVIL = "a\u202eb\u2066c\x9b31m\x85d\u200f\u2028e\ufefff\u200bg\x7f"
BAD = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f{HIDDEN_CHARACTERS}]")
texts = st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from(HIDDEN_CHARACTERS.replace("-", "") + "\\\"'\n"))


@given(st.dictionaries(texts, texts, max_size=4))
def test_json_and_yaml_say_the_same_without_hidden_characters(data: dict[str, str]) -> None:
    text = escape_hidden(json.dumps(data, ensure_ascii=False))
    assert json.loads(text) == data and not has_hidden(text)
    text = yaml_document(data)
    assert yaml.safe_load(text) == data and not has_hidden(text)


@given(texts)
def test_toml_and_protobuf_say_the_same_without_hidden_characters(value: str) -> None:
    text = escape_hidden(tomlkit.dumps({"a": value, "b": [value, {"c": value}]}))
    assert tomlkit.parse(text).unwrap() == {"a": value, "b": [value, {"c": value}]} and not has_hidden(text)
    config = pbtxt.new_config(name=value)
    for show in (True, False):
        text = pbtxt.to_text(config, show_zero_batch=show)
        assert pbtxt.from_text(text).name == value and not has_hidden(text)


@given(texts)
def test_a_dockerfile_has_them_in_no_line(value: str) -> None:
    quoter = Quoter()
    line = quoter.value(value)
    assert not has_hidden(line) and "\n" not in line
    assert has_hidden(value) <= (value in quoter.arguments.values())


def every_text(folder: Path) -> dict[str, str]:
    """The files below `folder`, and those in its archives, as far as they are text."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path in folder.rglob("*.tar.gz"):
        with tarfile.open(path) as tar:
            found |= {f"in the archive: {each.name}": tar.extractfile(each).read() for each in tar if each.isfile()}  # type: ignore[union-attr]
    texts = {}
    for name, data in found.items():
        try:
            texts[name] = data.decode()
        except UnicodeDecodeError:
            continue
    return texts


def test_no_file_of_a_package_has_them_whatever_the_spec_says(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "cwd"
    (folder / "m.wasm").write_bytes(wasmtime.wat2wasm(ADD))
    assert cli("annotate", "m.wasm", "--description", EVIL, "--in-place").returncode == 0
    spec: dict[str, Any] = {
        "package_name": "demo",
        "package_version": "1.0.0",
        "output_directory": "out",
        "description": EVIL,
        "wasm_binaries": [
            {"path": "m.wasm", "description": EVIL, "triton_config": {"backend_parameters": {"n": EVIL}}}
        ],
        "enable_nim_packaging": True,
        "enable_omniverse_packaging": True,
        "container_config": {"labels": {"l": EVIL}},
        "omniverse_config": {"package_as_extension": False, "prebundle": False},
        "distribution_config": {
            "compression_level": 0,
            "manifest_format": "YAML",
            "readme_format": "RestructuredText",
            "publish_metadata": {"author": EVIL, "maintainer": EVIL, "keywords": [EVIL], "categories": [EVIL]},
        },
        "build_metadata": {"rust_version": EVIL, "cargo_version": EVIL},
    }
    (folder / "portalis.json").write_text(json.dumps(spec))
    done = cli("package", "portalis.json", "--json", DOCKER_HOST="unix:///nowhere", CONTAINER_HOST="unix:///nowhere")
    assert done.returncode == 3, done.stdout[-1000:]  # there is no engine
    assert not BAD.search(done.stdout)
    texts = every_text(folder / "out")
    assert len(texts) > 20
    with_them = {name: found[0] for name, text in texts.items() if (found := BAD.search(text))}
    assert with_them == {}
    assert json.loads(texts["docs/openapi.json"])["info"]["description"].startswith("a\u202eb")


def test_a_new_spec_has_them_escaped(cli: Cli, tmp_path: Path) -> None:
    module = tmp_path / "cwd" / "a\u202eb.wasm"
    module.write_bytes(wasmtime.wat2wasm(ADD))
    done = cli("init", module, "--name", "demo")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "cwd" / "portalis.toml").read_text()
    assert not BAD.search(text) and "\\u202e" in text
