"""The archive of an extension."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from portalis.omniverse import extension_archive as archive


def test_times_and_rights_of_the_files_do_not_change_the_archive(tmp_path: Path) -> None:
    folder = tmp_path / "ext"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "two.txt").write_text("2" * 5000)
    (folder / "a.txt").write_text("1")
    archive.write(folder, tmp_path / "first.zip")
    os.utime(folder / "a.txt", (1, 1))
    (folder / "a.txt").chmod(0o600)
    archive.write(folder, tmp_path / "second.zip")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "first.zip") as packed:
        assert packed.namelist() == ["a.txt", "b/two.txt"]
        assert packed.read("b/two.txt") == b"2" * 5000
        assert packed.testzip() is None
