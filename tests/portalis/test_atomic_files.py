"""A file is replaced whole or not at all, and nothing temporary is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portalis.atomic_files import create_file, replacing


@pytest.mark.parametrize(("mode", "expected"), [(None, 0o666), (0o600, 0o600), (0o755, 0o755)])
def test_a_file_is_replaced_and_has_the_mode(tmp_path: Path, mode: int | None, expected: int) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    umask = os.umask(0)
    try:
        with replacing(target, mode=mode) as temporary:
            temporary.write_bytes(b"new")
            assert target.read_bytes() == b"old"
    finally:
        os.umask(umask)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == expected
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_default_mode_respects_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        with replacing(tmp_path / "file") as temporary:
            temporary.write_bytes(b"x")
    finally:
        os.umask(umask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_failure_leaves_the_old_file_and_nothing_temporary(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(FileNotFoundError), replacing(target) as temporary:
        temporary.unlink()
    with pytest.raises(IsADirectoryError), replacing(target) as temporary:
        tmp_path.write_bytes(b"not a file")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_new_file_never_replaces_one(tmp_path: Path) -> None:
    with create_file(tmp_path / "file", 0o600) as file:
        file.write(b"x")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "file", 0o600)
