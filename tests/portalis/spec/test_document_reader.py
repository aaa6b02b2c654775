"""TOML, YAML and JSON are the same data; what one of them would lose or run away with is refused."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import yaml

from portalis.bounded import CONFIG_BOUNDS
from portalis.errors import UsageError
from portalis.problems import MAX_PROBLEMS, InputProblems
from portalis.spec import read_spec
from portalis.spec.document_reader import read_document
from portalis.spec.plain import MAX_VALUES

from .conftest import SMALLEST, Folder

RICH: dict[str, Any] = SMALLEST | {
    "description": "naïve — 数",
    "container_config": {"labels": {"a.b/c": "x: y"}, "health_check_interval": "1m30s"},
    "triton_config": {
        "platform": {"Custom": "mine"},
        "inputs": [{"name": "x", "data_type": "FP32", "dims": [-1, 3]}],
        "metrics": [{"metric_family": "m", "buckets": [0.5, 1]}],
    },
}
DUMPS: dict[str, Callable[[Any], str]] = {
    "toml": tomlkit.dumps,
    "yaml": lambda data: yaml.safe_dump(data, allow_unicode=True),
    "yml": lambda data: yaml.safe_dump(data, default_flow_style=True),
    "json": json.dumps,
}


@pytest.mark.parametrize("ending", DUMPS)
def test_every_format_gives_the_same_spec(folder: Folder, ending: str) -> None:
    path = folder.path / f"spec.{ending}"
    path.write_text(DUMPS[ending](RICH), encoding="utf-8")
    assert read_spec(path) == folder.read(**RICH)


def document(folder: Path, ending: str, text: str | bytes) -> dict[Any, Any]:
    path = folder / f"spec.{ending}"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_document(path)


@pytest.mark.parametrize(
    ("ending", "text", "message"),
    [
        ("json", '{"a": 1, "a": 2}', "'a' is given twice"),
        ("json", '{"a": ', "is not valid JSON: Expecting value"),
        ("json", "[]", "expected a table, got a list"),
        ("json", "[" * 100_000, "nested too deeply"),
        ("json", "9" * 5000, "is not valid JSON: Exceeds the limit"),
        ("toml", "a = 1\na = 2", "is not valid TOML: Cannot overwrite a value"),
        ("toml", "a = " + "[" * 100_000, "nested too deeply"),
        ("yaml", "a: 1\na: 2", "'a' is given twice"),
        ("yaml", "yes: 1\ntrue: 2", "True is given twice"),
        ("yaml", "? {a: 1}\n: 2", "a key must be a string"),
        ("yaml", "a: &a [*a]", "the alias 'a' refers to a value that contains it"),
        ("yaml", "a: !!python/object/apply:os.system [x]", "cannot have the tag 'tag:yaml.org,2002:python/object"),
        ("yaml", "a: 1\n---\nb: 2", "expected a single document"),
        ("yaml", "a: " + "[" * 100_000, "nested too deeply"),
        ("yaml", "<<: 3", "<< requires a table or a list of tables"),
        ("yaml", "", "expected a table, got nothing"),
        ("yaml", "just words", "expected a table, got a string"),
        ("yaml", "12", "expected a table, got a single value"),
        ("toml", b"a = '\xff'", "is not UTF-8 text"),
        ("txt", "", "has the unknown extension '.txt'"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, ending: str, text: str | bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")) as caught:
        document(tmp_path, ending, text)
    assert "spec." in caught.value.message
    assert "\n" not in caught.value.message


def test_yaml_keys_of_a_merged_table_can_be_changed(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\nown: {<<: [*base, *more], a: 0}"
    assert document(tmp_path, "yaml", text)["own"] == {"a": 0, "b": 2, "c": 4}


@pytest.mark.parametrize("merge", [False, True])
def test_a_bomb_of_yaml_aliases_is_refused_in_no_time(tmp_path: Path, merge: bool) -> None:
    lines = ["a0: &a0 {k: 1, l: 2}"]
    for i in range(1, 40):
        value = f"{{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" if merge else f"[{', '.join([f'*a{i - 1}'] * 9)}]"
        lines.append(f"a{i}: &a{i} {value}")
    path = tmp_path / "spec.yaml"
    path.write_text("\n".join(lines))
    began = time.process_time()
    with pytest.raises(InputProblems, match="unknown" if merge else f"has more than {MAX_VALUES} values"):
        read_spec(path)
    assert time.process_time() - began < 20


def test_yaml_values_that_are_not_strings_are_reported_with_a_remediation(folder: Folder) -> None:
    path = folder.path / "spec.yaml"
    path.write_text(
        "package_name: no\npackage_version: 1.0\noutput_directory: 2024-01-01\nwasm_binaries: [add.wasm]\n"
        "enable_nim_packaging: yes\n1: x\n"
    )
    with pytest.raises(InputProblems) as caught:
        read_spec(path)
    assert {problem.where: str(problem) for problem in caught.value.problems} == {
        "package_name": "package_name: expected a string, got false",
        "package_version": "package_version: expected a string, got 1.0",
        "output_directory": "output_directory: expected a string, got datetime.date(2024, 1, 1) of type date. Put it in quotes.",
        "[1]": "[1]: expected a string as key, got 1. Put it in quotes.",
    }


def test_a_mark_of_the_byte_order_and_other_line_ends_are_no_matter(tmp_path: Path) -> None:
    for ending, text in (("toml", "a = 1\r\nb = 2\r\n"), ("json", '{"a": 1,\r\n"b": 2}'), ("yaml", "a: 1\r\nb: 2")):
        assert document(tmp_path, ending, b"\xef\xbb\xbf" + text.encode()) == {"a": 1, "b": 2}


def test_a_spec_that_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    for name, message in (
        ("fifo", "is not a regular file"),
        ("folder", "is not a regular file"),
        ("none", "does not exist"),
        ("loop", "does not exist|levels of symbolic links"),
        ("x" * 300, "File name too long"),
    ):
        with pytest.raises(UsageError, match=message):
            read_document(tmp_path / f"{name}.toml")


def test_a_huge_spec_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match=f"more than the {CONFIG_BOUNDS.max_bytes} bytes"):
        read_document(path)


SPECS = {
    "a dotted key.toml": ".".join(["a"] * 20_001) + "=1",
    "unknown keys.toml": "".join(f"k{i} = 1\n" for i in range(15_000)),
    "unknown keys.yaml": "".join(f"k{i}: 1\n" for i in range(15_000)),
    "keys that are not strings.yaml": "".join(f"{i}: 1\n" for i in range(15_000)),
    "modules of nothing.json": json.dumps(SMALLEST | {"wasm_binaries": [{"x": 1}] * 10_000}),
    "merged tables.yaml": f"a: &a {{{','.join(f'k{i}: 1' for i in range(1000))}}}\n"
    + "".join(f"m{i}: {{<<: *a}}\n" for i in range(20_000)),
}


@pytest.mark.parametrize("name", SPECS)
def test_problems_of_a_spec_are_reported_in_bounded_time(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(SPECS[name])
    began = time.process_time()
    with pytest.raises(UsageError) as caught:
        read_spec(path)
    assert time.process_time() - began < 8
    assert len(caught.value.message) < 50_000
    if isinstance(caught.value, InputProblems):
        assert caught.value.problems[-1].message == f"more than {MAX_PROBLEMS} problems; the others are not listed"
