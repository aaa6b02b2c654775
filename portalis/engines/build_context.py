"""The build context of an image: its files and build arguments, and the reproducible tar archive of them."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """What an engine builds from. `files` are sorted by path; `arguments` are the Dockerfile's build arguments."""

    files: Mapping[PurePosixPath, bytes | Path]
    arguments: Mapping[str, str]

    def write_to(self, directory: Path) -> None:
        """Write the files into `directory`, which must be empty or missing."""
        for path, content in self.files.items():
            target = directory / path
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
