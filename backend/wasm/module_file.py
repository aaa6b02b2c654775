"""Reads a module's file completely, within a limit: a copy that does not change if the file does.

A mapped file would avoid the copy, but a process that maps it is killed by SIGBUS when another one truncates it
(``cp``, an editor).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import ModuleError

MAX_BYTES = 1 << 30
"""Maximum size of a module that is read. wasmtime would take days to compile a larger one."""


def read_file(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES, advice: str = "") -> bytes:
    """The contents of the regular file at `path`.

    Raises ModuleError if it is not a regular file, exceeds `max_bytes` (with `advice` as the remediation), cannot be
    read, or changes while it is read.
    """
    shown = Path(path)
    try:
        with open(shown, "rb", opener=_at_once) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise ModuleError(f"{shown} is not a regular file")
            check_size(before.st_size, str(shown), max_bytes, advice)
            data = file.read(before.st_size + 1)
            after = os.fstat(file.fileno())
    except IsADirectoryError:
        raise ModuleError(f"{shown} is not a regular file") from None
    except OSError as error:
        raise ModuleError(f"{shown} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a NUL in the path
        raise ModuleError(f"{str(shown)!r} cannot be read: {error}") from None
    if (len(data), after.st_size, after.st_mtime_ns) != (before.st_size, before.st_size, before.st_mtime_ns):
        raise ModuleError(f"{shown} was changed while it was read: try again when it is complete")
    return data


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # otherwise opening a FIFO would wait for a writer


def check_size(size: int, name: str, max_bytes: int, advice: str) -> None:
    """Raise ModuleError if a module of `size` bytes is empty or exceeds the limit; errors refer to it as `name`."""
    if size == 0:
        raise ModuleError(f"{name} is empty, not a WebAssembly module")
    if size > max_bytes:
        raise ModuleError(
            f"{name} has {size} bytes, more than the limit of {max_bytes}{f' ({advice})' if advice else ''}"
        )
