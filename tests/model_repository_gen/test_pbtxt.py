"""The text of a config.pbtxt: stable, complete, and parsed with errors that name the line."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.errors import MissingPart, UsageError
from portalis.model_repository_gen.pbtxt import (
    enum_name,
    from_text,
    model_config_schema,
    new_config,
    read_config,
    to_text,
)
from tests.parts import ROOT

DEPTH = 4


def _value(field: Any, depth: int) -> st.SearchStrategy[Any]:
    """Values of one field of a message, by its descriptor."""
    kinds = {
        field.CPPTYPE_STRING: st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        field.CPPTYPE_BOOL: st.booleans(),
        field.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        field.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
        field.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
        field.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
        field.CPPTYPE_FLOAT: st.floats(width=32, allow_nan=False),
        field.CPPTYPE_DOUBLE: st.floats(allow_nan=False),
    }
    if field.cpp_type == field.CPPTYPE_ENUM:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.cpp_type == field.CPPTYPE_MESSAGE:
        return _fields(field.message_type, depth)
    return kinds[field.cpp_type]


def _fields(descriptor: Any, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """Some fields of a message, as keyword arguments; at most one of each oneof."""
    chosen: dict[str, st.SearchStrategy[Any]] = {}
    for field in descriptor.fields:
        is_message = field.cpp_type == field.CPPTYPE_MESSAGE
        if is_message and depth == 0:
            continue
        if is_message and field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            chosen[field.name] = st.dictionaries(_value(key, 0), _value(value, depth - 1), max_size=2)
        elif field.is_repeated:
            chosen[field.name] = st.lists(_value(field, depth - 1), max_size=2)
        else:
            chosen[field.name] = _value(field, depth - 1)
    oneofs = {field.name: field.containing_oneof.name for field in descriptor.fields if field.containing_oneof}

    @st.composite
    def some(draw: st.DrawFn) -> dict[str, Any]:
        names = draw(st.lists(st.sampled_from(sorted(chosen)), unique=True, max_size=4)) if chosen else []
        used: set[str] = set()
        values = {}
        for name in names:
            if oneofs.get(name) in used:
                continue
            used |= {oneofs[name]} if name in oneofs else set()
            values[name] = draw(chosen[name])
        return values

    return some()


def _fill(message: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        field = message.DESCRIPTOR.fields_by_name[name]
        if isinstance(value, dict):
            if field.message_type.GetOptions().map_entry:
                entries = getattr(message, name)
                for key, entry in value.items():
                    if isinstance(entry, dict):
                        entries[key].SetInParent()
                        _fill(entries[key], entry)
                    else:
                        entries[key] = entry
            else:
                getattr(message, name).SetInParent()
                _fill(getattr(message, name), value)
        elif isinstance(value, list):
            for each in value:
                if isinstance(each, dict):
                    _fill(getattr(message, name).add(), each)
                else:
                    getattr(message, name).append(each)
        else:
            setattr(message, name, value)


@given(values=_fields(model_config_schema().ModelConfig.DESCRIPTOR, DEPTH))
def test_any_configuration_survives_a_round_trip_and_prints_the_same_text(values: dict[str, Any]) -> None:
    config = new_config()
    _fill(config, values)
    for show in (True, False):
        text = to_text(config, show_zero_batch=show)
        assert from_text(text) == config
        assert to_text(from_text(text), show_zero_batch=show) == text
    assert f"max_batch_size: {config.max_batch_size}\n" in to_text(config)


def test_a_zero_batch_size_is_printed_in_its_place() -> None:
    config = new_config(name="m", backend="wasm", input=[{"name": "max_batch_size: 1\nmax_batch_size: 1"}])
    lines = to_text(config).splitlines()
    assert lines[:2] == ['name: "m"', "max_batch_size: 0"]
    assert config.max_batch_size == 0
    assert not to_text(config, show_zero_batch=False).count("\nmax_batch_size")


def test_text_is_utf_8_with_quotes_and_control_characters_escaped() -> None:
    config = new_config(parameters={"k": {"string_value": 'größe "x"\n\x01\\日本'}})
    assert r'string_value: "größe \"x\"\n\001\\日本"' in to_text(config)


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ('backend: "wasm"\nmax_batch: 4', 2, 'no field named "max_batch"'),
        ("input { data_type: TYPE_FP33 }", 1, "no value named TYPE_FP33"),
        ('\n\nname: "a"\nname: "b"', 4, 'multiple "name" fields'),
        ("dynamic_batching {}\nsequence_batching {}", 2, "another member of oneof"),
        ("input [ {", 1, "Expected"),
        ("max_batch_size: 99999999999", 1, "Value out of range"),
        ('name: "open', 1, "missing ending quote"),
    ],
)
def test_text_that_triton_would_not_parse_is_reported_with_its_line(text: str, line: int, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_text(text, source="m/config.pbtxt")
    assert caught.value.message.startswith(f"m/config.pbtxt, line {line}: ")
    assert expected in caught.value.message
    assert caught.value.remediation


@given(st.text(max_size=60))
def test_any_other_text_is_parsed_or_raises_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert from_text(text) == from_text(to_text(from_text(text)))


def test_a_missing_file_and_one_that_is_not_utf_8_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read .*config.pbtxt: No such file"):
        read_config(tmp_path / "config.pbtxt")
    (tmp_path / "config.pbtxt").write_bytes(b'backend: "wasm"\nname: "\xff"\n')
    with pytest.raises(UsageError, match="line 2: not UTF-8"):
        read_config(tmp_path / "config.pbtxt")


def test_the_message_is_tritonclients_own() -> None:
    import tritonclient.grpc.model_config_pb2 as theirs

    assert model_config_schema().ModelConfig is theirs.ModelConfig
    assert enum_name(new_config(input=[{"data_type": theirs.TYPE_BF16}]).input[0], "data_type") == "TYPE_BF16"


def test_printing_a_configuration_starts_no_grpc() -> None:
    program = (
        "import sys; from portalis.model_repository_gen.pbtxt import new_config, to_text; "
        "to_text(new_config(name='m')); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"grpc", "numpy", "tritonclient.grpc"}.isdisjoint(done.stdout.split())


@pytest.fixture
def anew() -> Iterator[None]:
    """The schema is looked for again, and once more after the test."""
    model_config_schema.cache_clear()
    yield
    model_config_schema.cache_clear()


@pytest.mark.usefixtures("anew")
def test_without_tritonclient_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPart, match="tritonclient is not installed") as caught:
        new_config()
    assert caught.value.remediation == "pip install 'portalis[client]'"


@pytest.mark.usefixtures("anew")
def test_without_protobuf_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    with pytest.raises(MissingPart, match="requires protobuf") as caught:
        new_config()
    assert caught.value.remediation == "pip install 'portalis[client]'"
