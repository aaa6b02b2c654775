"""The bytes of a module file, of any size, that stay the same while they are looked at."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from ..backend import ModuleError, WasmError

# Up to this size a file is read: then nothing that happens to it matters any more. Larger ones are mapped.
READ_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[memoryview]:
    """The contents of the regular file at `path`, read-only. Raises ModuleError.

    A file above `READ_BYTES` is mapped, not copied. Whoever cuts a mapped file kills the process that reads it
    (SIGBUS). So the file is held by a lease where the system gives one (Linux, for the file's owner or root, while
    nobody has it open for writing): who wants to write then waits until we are done, at most 45 s by default. Without
    a lease only a change that leaves the pages in place is seen, and ends in a ModuleError.
    """
    with _open(path) as file:
        state = os.fstat(file.fileno())
        _check_kind(state, path)
        if state.st_size > READ_BYTES:
            with _lease(file):
                yield from _watched(_map(file, state.st_size, path), file, state, path)
        else:
            yield memoryview(_read(file, state, path))


def sha256(data: memoryview) -> str:
    """The SHA-256 digest in hexadecimal. Chunk by chunk, so that Ctrl-C has its chance."""
    digest = hashlib.sha256()
    for at in range(0, len(data), _CHUNK_BYTES):
        digest.update(data[at : at + _CHUNK_BYTES])
    return digest.hexdigest()


def _open(path: Path) -> BufferedReader:
    try:
        # O_NONBLOCK: to open a FIFO would wait for a writer otherwise
        return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        # a folder can be opened, but is no file for `fdopen`
        what = "is not a regular file" if isinstance(error, IsADirectoryError) else _unreadable(error)
        raise ModuleError(f"{path} {what}") from None
    except ValueError as error:  # a NUL in the path
        raise ModuleError(f"{str(path)!r} cannot be read: {error}") from None


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"


def _read(file: BufferedReader, state: os.stat_result, path: Path) -> bytes:
    try:
        data = file.read(state.st_size + 1)
    except OSError as error:
        raise ModuleError(f"{path} {_unreadable(error)}") from None
    _check_same(file, state, len(data), path)
    return data


def _check_kind(state: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise ModuleError(f"{path} is not a regular file")
    if state.st_size == 0:
        raise ModuleError(f"{path} is empty, not a WebAssembly module")


def _map(file: BufferedReader, size: int, path: Path) -> memoryview:
    try:
        return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
    except ValueError:  # it is shorter by now
        raise _changed(path) from None


def _watched(data: memoryview, file: BufferedReader, state: os.stat_result, path: Path) -> Iterator[memoryview]:
    try:
        yield data
    except WasmError:
        _check_same(file, state, state.st_size, path)  # what is wrong may be wrong because of the change
        raise
    _check_same(file, state, state.st_size, path)


def _check_same(file: BufferedReader, before: os.stat_result, size: int, path: Path) -> None:
    after = os.fstat(file.fileno())
    if (after.st_size, after.st_mtime_ns) != (size, before.st_mtime_ns):
        raise _changed(path)


def _changed(path: Path) -> ModuleError:
    return ModuleError(f"{path} was changed while it was read: try again when it is complete")


@contextmanager
def _lease(file: BufferedReader) -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    try:
        # The kernel tells of a waiting writer by SIGIO, which kills; SIGURG is ignored.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:  # not our file, open for writing, or a file system without leases
        yield
        return
    try:
        yield
    finally:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)  # the mapping keeps the descriptor open longer than we do
