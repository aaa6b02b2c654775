"""A build context as one archive: the same files give the same bytes, whoever owns them and whenever they were made."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..nim.service_context import Context


def lay_out(context: Context, folder: Path) -> None:
    """Write the files of a context into `folder`, which must be empty or not there."""
    for path, content in context.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())


def pack(folder: Path, archive: BinaryIO, environment: Mapping[str, str] = os.environ) -> None:
    """Write the files under `folder` as a tar archive: sorted, owned by root, readable by all (the image's user is not
    the one who built it), with the time of SOURCE_DATE_EPOCH or 0. Links are followed."""
    moment = int(environment.get("SOURCE_DATE_EPOCH") or 0)
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*"), key=lambda each: each.relative_to(folder).parts):
            entry = tarfile.TarInfo(str(PurePosixPath(path.relative_to(folder))))
            entry.mtime = moment
            if path.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
                continue
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                entry.size = found.st_size
                entry.mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
                tar.addfile(entry, file)
