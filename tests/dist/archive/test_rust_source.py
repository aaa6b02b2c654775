"""The files of a Rust workspace in an archive."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portalis.dist.archive import rust_source as module
from portalis.dist.archive.rust_source import rust_source
from portalis.errors import PortalisError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    for name in ("Cargo.toml", "Cargo.lock", "src/lib.rs", "crates/one/Cargo.toml", "crates/one/src/lib.rs"):
        put(folder, name)
    return folder


def put(root: Path, name: str, data: bytes = b"x") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def found(root: Path) -> list[str]:
    return [str(member.path) for member in rust_source(root, "src")[0]]


def test_the_files_are_sorted_by_name_and_below_the_directory(root: Path) -> None:
    expected = ["Cargo.lock", "Cargo.toml", "crates/one/Cargo.toml", "crates/one/src/lib.rs", "src/lib.rs"]
    assert found(root) == [f"src/{name}" for name in expected]


def test_cargo_output_is_omitted_but_not_a_module_named_target(root: Path) -> None:
    put(root, "target/release/deps/huge.rlib")
    put(root, "crates/one/target/debug/x")
    put(root, "elsewhere/target/CACHEDIR.TAG")
    put(root, "src/target/mod.rs")
    names = found(root)
    assert "src/src/target/mod.rs" in names
    assert [name for name in names if "huge" in name or "debug" in name or "CACHEDIR" in name] == []


@pytest.mark.parametrize(
    "name", [".git/config", ".hg/store", ".env", "crates/one/.env", ".cargo/credentials.toml", ".cargo/credentials"]
)
def test_version_control_and_secrets_are_omitted(root: Path, name: str) -> None:
    before = found(root)
    put(root, name)
    put(root, ".cargo/config.toml")
    assert found(root) == ["src/.cargo/config.toml", *before]


def test_a_link_to_a_file_inside_is_the_file(root: Path) -> None:
    (root / "README.md").symlink_to("src/lib.rs")
    members, omitted = rust_source(root, "src")
    assert "src/README.md" in [str(member.path) for member in members] and omitted == []


def test_links_to_outside_or_nowhere_and_special_files_are_omitted_and_reported(root: Path, tmp_path: Path) -> None:
    secret = put(tmp_path, "secret.txt")
    put(root, ".git/config")
    (root / "a").symlink_to(secret)
    (root / "b").symlink_to("../secret.txt")
    (root / "c").symlink_to("missing")
    (root / "d").symlink_to("src")
    (root / "e").symlink_to("e")
    (root / "f").symlink_to(tmp_path)
    (root / "g").symlink_to(".git/config")
    os.mkfifo(root / "h")
    before = ["Cargo.lock", "Cargo.toml", "crates/one/Cargo.toml", "crates/one/src/lib.rs", "src/lib.rs"]
    members, omitted = rust_source(root, "src")
    assert [str(member.path) for member in members] == [f"src/{name}" for name in before]
    assert [each.message.split()[0] for each in omitted] == [f"'{name}'" for name in "abcdefgh"]
    assert [each for each in omitted if "points outside" in each.message] == [omitted[0], omitted[1], omitted[5]]


def test_the_workspace_itself_can_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert found(tmp_path / "link") == found(root)


def test_a_name_that_is_not_utf8_is_omitted_and_reported_escaped(root: Path) -> None:
    try:
        (root / os.fsdecode(b"caf\xe9.rs")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system has no such names")
    members, omitted = rust_source(root, "src")
    assert len(members) == 5 and [each.message for each in omitted] == ["'caf\\udce9.rs' has a name that is not UTF-8"]


@pytest.mark.parametrize(
    ("bound", "value", "what"),
    [("MAX_FILES", 4, "4 files"), ("MAX_BYTES", 4, "GiB"), ("MAX_DEPTH", 1, "nested more than 1 levels deep")],
)
def test_a_directory_that_is_too_large_to_be_a_workspace_is_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, what: str
) -> None:
    monkeypatch.setattr(module, bound, value)
    with pytest.raises(PortalisError, match=what) as caught:
        rust_source(root, "src")
    assert "include_source_rust" in caught.value.remediation
