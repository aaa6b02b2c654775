"""The extension as one file: a ZIP with the extension's contents at its root, the same bytes for the same contents."""

from __future__ import annotations

import zipfile
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a ZIP can say
_REGULAR_0644 = 0o100644 << 16
_UNIX = 3


def write(folder: Path, target: Path) -> None:
    """Pack all files of `folder` into `target`, which must not exist. Raises OSError."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(target, "x", compression=zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), date_time=_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = _REGULAR_0644
            entry.create_system = _UNIX
            entry.file_size = path.stat().st_size  # so that the writer knows whether it needs ZIP64
            with path.open("rb") as source, archive.open(entry, "w") as sink:
                while block := source.read(1 << 20):
                    sink.write(block)
