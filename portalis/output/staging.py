"""The staging directory next to the output directory, which it replaces in one step at the end of a run.

The next run removes a staging directory of a run that was killed. A lock on the directory distinguishes it from the
directory of a run that is in progress.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..atomic_files import create_file, replace_folder
from ..digests import FileDigest, blocks, file_digest, sha256_hex
from ..errors import UsageError
from .package_layout import REPORT
from .tree import CopiedFile, OutputTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file in the staging directory; `sha256` is computed from the bytes that were written."""

    path: PurePosixPath
    size_bytes: int
    sha256: str


class Staging:
    """A context manager. Without `commit` nothing remains, and the output directory is unchanged."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.files: dict[PurePosixPath, Written] = {}
        self._prefix = f".{output.name}.staging-"
        self.folder = output.parent / f"{self._prefix}{secrets.token_hex(4)}"
        self._created: list[Path] = []

    def __enter__(self) -> Staging:
        for folder in reversed([self.output.parent, *self.output.parent.parents]):
            if not folder.exists():
                folder.mkdir()
                self._created.append(folder)
        self._remove_stale()
        self.folder.mkdir()
        self._lock = _lock(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in reversed(self._created):
            with contextlib.suppress(OSError):  # not empty: it has the output
                folder.rmdir()

    def _remove_stale(self) -> None:
        for folder in self.output.parent.glob(f"{self._prefix}*"):
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)

    def write(self, tree: OutputTree) -> Iterator[Written]:
        """Write the files of `tree`, and yield each. Raises OSError, and UsageError for a source that has changed."""
        for entry in tree:
            target = self._target(entry.path)
            mode = 0o777 if entry.executable else 0o666
            if isinstance(entry.content, CopiedFile):
                digest = _copy(entry.content.path, target, mode)
                if entry.content.sha256 is not None and digest.sha256 != entry.content.sha256:
                    raise UsageError(
                        f"{entry.content.path} has changed during packaging",
                        remediation=f"Package again when no process writes to {entry.content.path}.",
                    )
            else:
                digest = _write(entry.content, target, mode)
            yield self._note(entry.path, digest)

    def adopt(self, path: PurePosixPath) -> Written:
        """Add the file that a tool has written at `path` in the staging directory."""
        return self._note(path, file_digest(self.folder / path))

    def discard(self, paths: Iterable[PurePosixPath]) -> None:
        """Remove files, and directories that are then empty."""
        for path in paths:
            self.files.pop(path, None)
            (self.folder / path).unlink(missing_ok=True)
            for parent in (self.folder / path).parents:
                if parent == self.folder or any(parent.iterdir()):
                    break
                parent.rmdir()

    def rescue(self, paths: Iterable[PurePosixPath]) -> Path:
        """Move files to the directory ``OUTPUT-failed``, because the staging directory is not committed.

        Returns that directory. Files that earlier runs left there under other names are kept.
        """
        kept = self.output.with_name(f"{self.output.name}-failed")
        for path in paths:
            (kept / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).replace(kept / path)
            self.files.pop(path, None)
        return kept

    def _target(self, path: PurePosixPath) -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _note(self, path: PurePosixPath, digest: FileDigest) -> Written:
        written = Written(path=path, size_bytes=digest.size_bytes, sha256=digest.sha256)
        self.files[path] = written
        return written

    def commit(self) -> None:
        """Replace the output directory with the staging directory. If that raises OSError, the old one is kept."""
        before = replace_folder(self.folder, self.output)
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)


def refuse_foreign_directory(output: Path) -> None:
    """Raise UsageError if `output` has files that no run has written, which would be lost."""
    if output.is_dir() and not (output / REPORT).is_file() and any(output.iterdir()):
        raise UsageError(
            f"{output} is not empty, and was not written by portalis (it has no {REPORT})",
            remediation="Choose another output directory, or replace its entire content with --force.",
        )


def _write(data: bytes, target: Path, mode: int) -> FileDigest:
    with create_file(target, mode) as file:
        file.write(data)
    return FileDigest(size_bytes=len(data), sha256=sha256_hex(data))


def _copy(source: Path, target: Path, mode: int) -> FileDigest:
    """Copy a file and compute the digest of the very bytes that are written."""
    digest, size = hashlib.sha256(), 0
    with create_file(target, mode) as file:
        for block in blocks(source):
            digest.update(block)
            file.write(block)
            size += len(block)
    return FileDigest(size_bytes=size, sha256=digest.hexdigest())


def _lock(folder: Path) -> int | None:
    """A descriptor that locks the directory until it is closed; None if another process has the lock."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
