"""Label files: one label per line, of a bounded size, for outputs that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.interface.interface import Convention, Interface, TensorSpec
from portalis.nim.service.label_files import MAX_LABEL_BYTES, load_labels, split_labels
from portalis.nim.service.runtime_api import SettingsError

INTERFACE = Interface("f", Convention.DLPACK, (), (TensorSpec("y", DTYPES["FP32"], (-1,)),))


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"", ()),
        (b"a", (b"a",)),
        (b"a\n", (b"a",)),
        (b"a\nb", (b"a", b"b")),
        (b"\n\nc\n", (b"", b"", b"c")),
        (b"a\r\n b \xff\0\n\n", (b"a\r", b" b \xff\0", b"")),
    ],
)
def test_each_line_is_a_label(tmp_path: Path, content: bytes, labels: tuple[bytes, ...]) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    assert split_labels(content) == labels
    assert load_labels(tmp_path, {"y": "labels.txt"}, INTERFACE) == {"y": labels}


def test_a_label_file_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(b"a")
    with pytest.raises(SettingsError, match="labels: output 'z' does not exist; the outputs are y"):
        load_labels(tmp_path, {"z": "labels.txt"}, INTERFACE)
    with pytest.raises(FileNotFoundError):
        load_labels(tmp_path, {"y": "none.txt"}, INTERFACE)
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(MAX_LABEL_BYTES + 1)
    with pytest.raises(SettingsError, match="labels: large.txt has more than"):
        load_labels(tmp_path, {"y": "large.txt"}, INTERFACE)
