"""Puts a finished folder in another's place in one step, so that whoever looks sees the old one or the new one."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def replace_folder(new: Path, place: Path) -> Path | None:
    """Move the folder `new` to `place`; what stood there before is then at the path that is returned.

    Both are on one file system. Raises OSError, with `place` as it was.
    """
    if not os.path.lexists(place):
        new.rename(place)
        return None
    if _exchange(new, place):
        return new
    aside = new.with_name(f"{new.name}.old")
    place.rename(aside)  # this file system cannot exchange: for a moment nothing is there
    try:
        new.rename(place)
    except OSError:
        aside.rename(place)
        raise
    return aside


def _exchange(one: Path, other: Path) -> bool:
    """Linux's renameat2 with RENAME_EXCHANGE; False where the C library, kernel or file system has none."""
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
