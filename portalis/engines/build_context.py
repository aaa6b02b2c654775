"""The build context of an image: its files and build arguments, and a reproducible tar archive of the files."""

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
    """The input of an image build. `files` are sorted by path; `arguments` are the Dockerfile's build arguments."""

    files: Mapping[PurePosixPath, bytes | Path]
    arguments: Mapping[str, str]

    def write_to(self, directory: Path) -> None:
        """Write the files into `directory`, which must be empty or missing."""
        for path, content in self.files.items():
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())


def write_context_tar(directory: Path, archive: BinaryIO, environment: Mapping[str, str] = os.environ) -> None:
    """Write the files under `directory` as a tar archive that is the same for the same files.

    Entries are sorted, owned by root, and readable by everyone, since the image's user is not the user who built it.
    Their time is SOURCE_DATE_EPOCH, or 0. Symbolic links are followed.
    """
    mtime = int(environment.get("SOURCE_DATE_EPOCH") or 0)
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(directory.rglob("*"), key=lambda each: each.relative_to(directory).parts):
            entry = tarfile.TarInfo(str(PurePosixPath(path.relative_to(directory))))
            entry.mtime = mtime
            if path.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
                continue
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                entry.size = status.st_size
                entry.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
                tar.addfile(entry, file)
