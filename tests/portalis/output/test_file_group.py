"""Files that are written together, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from portalis.output.file_group import file_group


def test_the_files_exist_after_the_block(tmp_path: Path) -> None:
    with file_group(tmp_path / "new") as files:
        files.write("a", b"1")
        files.add("b").write_bytes(b"2")
        files.add("c").write_bytes(b"3")
        files.discard("c")
    assert files.names == ["a", "b"] and files.path("a").read_bytes() == b"1"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a", "b"]


def write(folder: Path, *names: str, error: BaseException | None = None) -> None:
    """Write files with the content ``new``, then raise `error`."""
    with file_group(folder) as files:
        for name in names:
            files.write(name, b"new")
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_an_exception_removes_the_files_and_a_directory_created_for_them(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        write(tmp_path / "new", "a", error=error)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_neither_overwritten_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(FileExistsError, match="already exists"):
        write(tmp_path, "b", "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"old"
