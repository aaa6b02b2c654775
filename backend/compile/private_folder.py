"""A directory that only this user can read or write, its files, and the secret that authenticates them.

All operations use a file descriptor of the checked directory, so that concurrent renames, links or replacements of its
path have no effect. It shares no code with `portalis.output`: this package imports nothing of portalis.
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
    """Other users could write to the directory, or read the secret; the message is the reason."""


def create_folder(path: Path) -> None:
    """Create the directory and its missing parents, with access for this user only."""
    try:
        path.mkdir(0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        create_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir(0o700)


def open_folder(path: Path) -> int:
    """A file descriptor of the directory, which the caller closes. Raises UnsafeFolder or OSError."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise UnsafeFolder("is a symbolic link or not a directory: name the real directory") from None
        raise
    status = os.fstat(folder)
    problem = ""
    if status.st_uid != os.geteuid():
        problem = f"belongs to user {status.st_uid}, but this process runs as user {os.geteuid()}"
    elif stat.S_IMODE(status.st_mode) & 0o077:
        problem = f"is accessible to other users (mode {stat.S_IMODE(status.st_mode):04o}): change its mode to 0700"
    if problem:
        os.close(folder)
        raise UnsafeFolder(problem)
    return folder


def write_temporary(folder: int, *chunks: bytes | memoryview, sync: bool = False) -> str:
    """Write the chunks to a new file; returns its unique name. On failure the file is removed."""
    name = f".portalis-{secrets.token_hex(16)}"
    opened = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        with os.fdopen(opened, "wb") as file:
            os.fchmod(opened, 0o600)  # regardless of the umask
            file.writelines(chunks)
            file.flush()
            if sync:
                os.fsync(opened)
    except BaseException:
        remove_file(folder, name)
        raise
    return name


def read_up_to(file: int, size: int) -> bytes:
    """Up to `size` bytes. One system call reads up to 2 GiB without another copy."""
    content = os.read(file, size)
    while len(content) < size and (more := os.read(file, size - len(content))):
        content += more
    return content


def remove_file(folder: int, name: str) -> None:
    """Remove a file, if it exists and can be removed."""
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=folder)


def read_secret(folder: int) -> bytes | None:
    """The secret of this directory; None if it is missing or could be known to other users."""
    try:
        file = os.open(KEY_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise  # for example, too many open files: the secret can be valid
    try:
        status = os.fstat(file)
        ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        secret = os.read(file, KEY_BYTES + 1) if ours and not status.st_mode & 0o077 else b""
    finally:
        os.close(file)
    # After a power failure some file systems leave zeros in a file: they are not a secret.
    return secret if len(secret) == KEY_BYTES and any(secret) else None


def new_secret(folder: int) -> bytes:
    """Create the secret, or use the one that another process created concurrently: only one `link` succeeds."""
    temporary = write_temporary(folder, secrets.token_bytes(KEY_BYTES), sync=True)
    try:
        os.link(temporary, KEY_NAME, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError:
        # The file system has no links, or the key file is not a valid secret. If two processes replace it
        # concurrently, the last one wins, and modules signed with the other secret are compiled again.
        if read_secret(folder) is None:
            os.rename(temporary, KEY_NAME, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        remove_file(folder, temporary)
    secret = read_secret(folder)
    if secret is None:
        raise OSError(errno.EIO, "its key file cannot be created")
    return secret
