"""Whatever a document's text is, parsing it takes bounded memory and time; within the bounds nothing changes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import tomlkit
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from portalis.bounded import Bounds, Excess, parse_json, parse_toml
from portalis.bounded.toml_text import MAX_KEY_PARTS
from portalis.bounded.yaml_text import parse_yaml

BOUNDS = Bounds(max_bytes=1 << 20, max_values=20_000)
# each takes gigabytes or minutes in a parser without bounds, or is the worst that goes through
BOMBS: dict[str, str] = {
    "toml: a dotted key": "'.'.join(['a'] * 20_001) + '=1'",
    "toml: a dotted header": "'[' + '.'.join(['a'] * 20_001) + ']'",
    "toml: a header of tables": "'[[' + '.'.join(['a'] * 20_001) + ']]'",
    "toml: quoted parts with space between": "' . '.join(['\"a.b\"', \"'c'\"] * 10_000) + '=1'",
    "toml: a dotted key in an inline table": "'a = {x = 1, ' + '.'.join(['b'] * 20_001) + ' = 1}'",
    "toml: many keys of the most parts": "''.join('.'.join([f'k{i}', *'abcdefghijklmno']) + '=1\\n' for i in range(1000))",
    "toml: nested arrays": "'a = ' + '[' * 250_000",
    "toml: nested inline tables": "'a = ' + '{a = ' * 80_000",
    "toml: many values": "'a = [' + '[],' * 120_000 + ']'",
    "toml: a string of escapes without an end": "'a = \"' + '\\\\\"' * 250_000",
    "yaml: lines of one key": "'a: 1\\n' * 100_000",
    "yaml: lines of keys": "''.join(f'k{i}: 1\\n' for i in range(40_000))",
    "yaml: nested lists": "'[' * 500_000",
    "yaml: nested lists in blocks": "'- ' * 250_000",
    "yaml: nested keys": "'? ' * 250_000",
    "yaml: a number of base 60": "'a: !!int 1' + ':1' * 250_000",
    "yaml: a number of base 60 without a tag": "'a: 1' + ':1' * 250_000",
    "yaml: merged tables": (
        "'a: &a {' + ','.join(f'k{i}: 1' for i in range(1000)) + '}\\n'"
        " + ''.join(f'm{i}: {{<<: *a}}\\n' for i in range(20_000))"
    ),
    "yaml: anchors": "''.join(f'- &a{i} x\\n' for i in range(40_000))",
    "json: nested lists": "'[' * 500_000",
    "json: nested objects": "'{\"a\":' * 80_000",
    "json: many objects": "'[' + '{},' * 160_000 + '{}]'",
    "json: many keys": "'{' + ','.join(f'\"{i}\":0' for i in range(50_000)) + '}'",
}
CHILD = """
import json, resource, sys, time
from portalis.bounded import Bounds, parse_json, parse_toml
from portalis.bounded.yaml_text import parse_yaml

parsers = {"toml": parse_toml, "yaml": parse_yaml, "json": parse_json}
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (96 << 20),) * 2)
for name, source in json.load(sys.stdin).items():
    text, began = eval(source), time.process_time()
    try:
        parsers[name.partition(":")[0]](text, Bounds(max_bytes=1 << 20, max_values=20_000))
        result = "parsed"
    except ValueError as error:
        result = f"{type(error).__name__}: {str(error)[:100]}"
    print(json.dumps([name, result, time.process_time() - began]), flush=True)
"""


@pytest.fixture(scope="module")
def parsed() -> dict[str, tuple[str, float]]:
    """The result of each bomb and its CPU seconds. One process with 96 MiB of free memory parses all of them."""
    done = subprocess.run([sys.executable, "-c", CHILD], input=json.dumps(BOMBS), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr[-1000:]
    return {name: (result, spent) for name, result, spent in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_bounded_memory_and_time(name: str, parsed: dict[str, tuple[str, float]]) -> None:
    result, spent = parsed[name]
    assert spent < 5, result
    if any(word in name for word in ("header", "dotted", "nested", "many objects", "many values", "merged", "anchors")):
        assert result.startswith("Excess: "), result


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_toml, ".".join("a" * MAX_KEY_PARTS) + ".a = 1", "a key has more than 16 parts"),
        (parse_toml, f"a = {'[' * 201}{']' * 201}", "more than 200 levels"),
        (parse_yaml, "[" * 202 + "]" * 202, "more than 200 levels"),
        (parse_json, "[" * 201 + "]" * 201, "more than 200 levels"),
        (parse_toml, f"a = [{'1,' * 20_000}]", "more than 20000 values"),
        (parse_yaml, f"[{'1,' * 20_000}]", "more than 20000 values"),
        (parse_json, f"[{'1,' * 20_000}1]", "more than 20000 values"),
        (parse_json, " " * (1 << 20) + "1", "more than 1048576 bytes"),
    ],
)
def test_the_bound_that_is_exceeded_is_named(parse: Callable[[str, Bounds], Any], text: str, message: str) -> None:
    with pytest.raises(Excess, match=message):
        parse(text, BOUNDS)


def test_what_stands_in_strings_and_comments_is_not_counted() -> None:
    dots, brackets = "." * 50, "[{" * 300
    assert parse_toml(f'# {dots}{brackets}\na = "{dots}{brackets}\\"{dots}"\nb = \'{dots}\'', BOUNDS) == {
        "a": f'{dots}{brackets}"{dots}',
        "b": dots,
    }
    assert parse_toml(f'a = """{dots}\n"" {brackets} \\""""\nb = \'\'\'{dots}\n{brackets}\'\'\'', BOUNDS)["b"]
    assert parse_json(json.dumps([brackets, "\\", '"', brackets]), BOUNDS) == [brackets, "\\", '"', brackets]


def test_yaml_is_what_it_is_in_pyyaml() -> None:
    text = """
a: &a {x: 1, y: [0x10, 1_000, 1e3, 1.5e+3, .inf, ~, yes, 2024-01-01, 12:30, "1", '2', !!str 4, !!float 5]}
b:
  <<: *a
  y: |
    lines
    more
  z: >-
    folded
    text
? plain key
: - *a
  - - nested
1: one
"""
    assert parse_yaml(text, BOUNDS) == yaml.safe_load(text)


values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"])), values, max_size=6))
def test_any_data_comes_back_from_its_text(data: dict[str, Any]) -> None:
    assert parse_json(json.dumps(data), BOUNDS) == data
    dumped = yaml.safe_dump(data)
    assert parse_yaml(dumped, BOUNDS) == yaml.safe_load(dumped)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(alphabet="ab.\"'#[]=\\ \n", min_size=1), values.filter(lambda v: v != ""), max_size=4))
def test_a_toml_text_of_tomlkit_is_within_the_bounds(data: dict[str, Any]) -> None:
    text = tomlkit.dumps(data)
    try:
        expected: Any = tomlkit.parse(text).unwrap()
    except Exception:  # noqa: BLE001 (tomlkit writes some texts that it cannot read)
        return
    try:
        assert parse_toml(text, BOUNDS) == expected
    except Excess as error:
        raise AssertionError(text) from error
    except ValueError:
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: *b", "found undefined alias 'b'"),
        ("a: !!int x", "not a value of the tag"),
        ("a: !!set {b}", "cannot have the tag"),
        ("a: !x y", "cannot have the tag"),
        ("? [a]\n: b", "a key must be a string"),
        ("a: 2024-99-99", "not a value of the tag"),
    ],
)
def test_what_yaml_cannot_mean_is_an_error_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_yaml(text, BOUNDS)
    assert "line 1" in str(caught.value)


def test_aliases_are_an_error_where_nothing_has_them() -> None:
    with pytest.raises(ValueError, match="aliases are not allowed"):
        parse_yaml("a: &a 1\nb: *a", BOUNDS, aliases=False)
