"""Files and directories that replace others in one step: a reader sees the old one or the new one, whole."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from io import BufferedWriter
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


@contextlib.contextmanager
def replacing(target: Path, *, mode: int | None = None) -> Iterator[Path]:
    """An empty temporary file next to `target`, which it replaces at the end of the ``with`` block.

    The block writes to the path that it gets; if it raises, the temporary file is removed and `target` stays as it was.
    The file has `mode` in the end, and is private until then; by default it has 0666 less the umask, and the block can
    change that. Raises OSError.
    """
    temporary = target.with_name(f".portalis.{os.urandom(8).hex()}")
    create_file(temporary, 0o666 if mode is None else 0o600).close()
    try:
        yield temporary
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def create_file(path: Path, mode: int) -> BufferedWriter:
    """A new file, opened for writing, with `mode` less the umask from the start. Raises FileExistsError and OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    return os.fdopen(descriptor, "wb")


def replace_folder(new: Path, target: Path) -> Path | None:
    """Move the directory `new` to `target`, on the same file system; returns where the previous directory is now.

    Raises OSError, with `target` as it was.
    """
    if not os.path.lexists(target):
        new.rename(target)
        return None
    if _exchange(new, target):
        return new
    aside = new.with_name(f"{new.name}.old")
    target.rename(aside)  # without an exchange, `target` is missing for a moment
    try:
        new.rename(target)
    except OSError:
        aside.rename(target)
        raise
    return aside


def _exchange(one: Path, other: Path) -> bool:
    """Linux's renameat2 with RENAME_EXCHANGE; False if the C library, the kernel or the file system lacks it."""
    import ctypes  # commands that write no directory start faster without it

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(other))
