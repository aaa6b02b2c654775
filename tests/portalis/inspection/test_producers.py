"""The ``producers`` section: from real compilers, and with arbitrary bytes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.backend.errors import ModuleError
from portalis.backend.wasm.producers import MAX_TEXT, MAX_VALUES, Producer, parse_producers
from portalis.inspection import producers
from tests import parts
from tests.parts import ROOT


def leb(value: int) -> bytes:
    done = bytearray()
    while value >= 0x80:
        done.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*done, value])


def text(value: str) -> bytes:
    return leb(len(value.encode())) + value.encode()


def payload(fields: dict[str, list[tuple[str, str]]]) -> bytes:
    found = leb(len(fields))
    for field, values in fields.items():
        found += text(field) + leb(len(values)) + b"".join(text(name) + text(version) for name, version in values)
    return found


def module(section: bytes) -> bytes:
    custom = text("producers") + section
    return b"\0asm\1\0\0\0" + b"\0" + leb(len(custom)) + custom


RUST = payload({"language": [("Rust", "")], "processed-by": [("rustc", "1.83.0"), ("clang", "18")]})


def test_language_and_tools_are_read_from_a_module(tmp_path: Path) -> None:
    path = tmp_path / "m.wasm"
    path.write_bytes(module(RUST))
    found = producers(path)
    assert [(each.field, str(each)) for each in found] == [
        ("language", "Rust"),
        ("processed-by", "rustc 1.83.0"),
        ("processed-by", "clang 18"),
    ]


def test_rustc_says_what_it_is(tmp_path: Path) -> None:
    source = tmp_path / "m.rs"
    source.write_text('#[no_mangle] pub extern "C" fn f() -> i32 { 1 }')
    command: list[str | Path] = [
        parts.rustc(),
        "--target",
        "wasm32-unknown-unknown",
        "--crate-type",
        "cdylib",
        "-o",
        tmp_path / "m.wasm",
    ]
    subprocess.run([*command, source], check=True, capture_output=True)
    found = producers(tmp_path / "m.wasm")
    assert Producer(field="language", name="Rust", version="") in found
    assert any(each.field == "processed-by" and each.name == "rustc" and each.version for each in found)


def test_a_module_without_the_section_says_nothing() -> None:
    assert producers(ROOT / "examples" / "gelu" / "gelu.wasm") == ()


def test_a_file_that_is_not_a_module_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "m.wasm").write_bytes(b"MZ")
    with pytest.raises(ModuleError):
        producers(tmp_path / "m.wasm")


def test_what_comes_before_a_malformed_part_is_kept() -> None:
    whole = parse_producers(RUST)
    for end in range(len(RUST)):
        assert parse_producers(RUST[:end]) == whole[: len(parse_producers(RUST[:end]))]
    assert len(parse_producers(RUST[:-1])) == 2


def test_there_is_an_end_to_what_is_read(tmp_path: Path) -> None:
    many = payload({"language": [("x", str(i)) for i in range(MAX_VALUES + 9)]})
    assert len(parse_producers(many)) == MAX_VALUES
    assert parse_producers(payload({"language": [("x" * (MAX_TEXT + 1), "")]})) == ()
    (tmp_path / "m.wasm").write_bytes(module(payload({"language": [("Rust", "")]}) + bytes(70_000)))
    assert producers(tmp_path / "m.wasm") == ()


def test_nothing_in_it_reaches_a_terminal_as_more_than_text() -> None:
    (found,) = parse_producers(payload({"language": [("Ru\x1b[2Jst", "\n")]}))
    assert str(found).isprintable()


@given(st.binary(max_size=300))
def test_no_bytes_make_it_crash(data: bytes) -> None:
    assert len(parse_producers(data)) <= len(data)
    assert len(parse_producers(RUST + data)) == 3
