"""A folder that only this user can read or write, the files in it, and the secret that signs them.

Everything works on a file descriptor of the folder after it was checked, so that nothing which is renamed,
linked or replaced meanwhile leads elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from pathlib import Path

KEY_NAME = "portalis.key"
KEY_BYTES = 32
TEMPORARY = re.compile(r"\.portalis-[0-9a-f]{32}")


class UnsafeFolder(Exception):
    """The folder is one that others could write to, or read the secret from; the text says why."""


def create_folder(path: Path) -> None:
    """Make the folder, and those above it, for this user alone, where they are missing."""
    try:
        path.mkdir(0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        create_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir(0o700)


def open_folder(path: Path) -> int:
    """A file descriptor of the folder, which the caller closes. Raises Unsafe, or OSError."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise UnsafeFolder("is a symbolic link or not a directory: name the real directory") from None
        raise
    status = os.fstat(folder)
    problem = ""
    if status.st_uid != os.geteuid():
        problem = f"belongs to user {status.st_uid}, not to {os.geteuid()} who runs this"
    elif stat.S_IMODE(status.st_mode) & 0o077:
        problem = f"is open to other users (mode {stat.S_IMODE(status.st_mode):04o}): make it 0700"
    if problem:
        os.close(folder)
        raise UnsafeFolder(problem)
    return folder


def write_temporary(folder: int, *chunks: bytes | memoryview, sync: bool = False) -> str:
    """A new file with these chunks and a name that nobody else has. Nothing is left behind on failure."""
    name = f".portalis-{secrets.token_hex(16)}"
    made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        with os.fdopen(made, "wb") as file:
            os.fchmod(made, 0o600)  # whatever the umask
            file.writelines(chunks)
            file.flush()
            if sync:
                os.fsync(made)
    except BaseException:
        remove_file(folder, name)
        raise
    return name


def read_up_to(file: int, size: int) -> bytes:
    """`size` bytes, or as many as there are. One system call reads up to 2 GiB, without a further copy."""
    content = os.read(file, size)
    while len(content) < size and (more := os.read(file, size - len(content))):
        content += more
    return content


def remove_file(folder: int, name: str) -> None:
    """Remove a file, if it is there and that is possible."""
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=folder)


def read_secret(folder: int) -> bytes | None:
    """The secret of this folder; None where there is none that only its owner could know."""
    try:
        file = os.open(KEY_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise  # too many open files, say: the secret may be fine
    try:
        status = os.fstat(file)
        ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        secret = os.read(file, KEY_BYTES + 1) if ours and not status.st_mode & 0o077 else b""
    finally:
        os.close(file)
    # All zeros is what some file systems leave of a file after a power cut: a secret that everybody knows.
    return secret if len(secret) == KEY_BYTES and any(secret) else None


def new_secret(folder: int) -> bytes:
    """Make the secret, or take one that another process made at the same moment: `link` lets only one win."""
    temporary = write_temporary(folder, secrets.token_bytes(KEY_BYTES), sync=True)
    try:
        os.link(temporary, KEY_NAME, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError:
        # A file system without links, or a key file that cannot be a secret. Should two processes replace it
        # at once, the last wins, and what the other signed meanwhile is compiled again.
        if read_secret(folder) is None:
            os.rename(temporary, KEY_NAME, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        remove_file(folder, temporary)
    secret = read_secret(folder)
    if secret is None:
        raise OSError(errno.EIO, "its key file cannot be made")
    return secret
