"""An authenticated cache of compiled modules on disk.

A compiled module is machine code: loading a damaged or forged one runs any code, and wasmtime does not detect it. So an
entry is used only after its MAC was verified over the bytes that are returned. The key of the MAC is a secret that only
this user can read. It is stored next to the entries: this protects against damage, confused files and other users, but
not against an attacker with the rights of the server's own user.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import hmac
import logging
import os
import platform
import re
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from .engine import wasmtime_version
from .private_folder import (
    TEMPORARY,
    UnsafeFolder,
    create_folder,
    new_secret,
    open_folder,
    read_secret,
    read_up_to,
    remove_file,
    write_temporary,
)

MAGIC = b"portalis-code-01"
"""The first 16 bytes of an entry: MAGIC, MAC, payload. The number is the version of this layout."""
HEADER_BYTES = len(MAGIC) + hashlib.sha256().digest_size
SUFFIX = ".code"
STALE_S = 3600.0
"""Age of a temporary file, in seconds, after which its process must have been killed."""

_LOG = logging.getLogger("portalis.cache")
_KEY = re.compile(r"[0-9a-f]{64}")
_ENTRY = re.compile(_KEY.pattern + re.escape(SUFFIX))
_CPU_FIELDS = re.compile(
    r"^(vendor_id|cpu family|model|model name|stepping|flags|Features|isa|uarch|CPU \w+)\s*:\s*(.*)$",
    re.MULTILINE,
)


@functools.cache
def _warn_once(message: str) -> None:
    _LOG.warning("%s", message)


@functools.lru_cache(maxsize=1)
def machine_identity() -> str:
    """Everything that machine code depends on besides the settings: system, architecture, CPU model and features."""
    try:
        cpus = sorted(set(_CPU_FIELDS.findall(Path("/proc/cpuinfo").read_text(errors="replace"))))
    except OSError:  # not Linux
        cpus = [("processor", platform.processor())]
    return repr((platform.system(), platform.machine(), cpus))


def cache_key(wasm_sha256: str, settings: str) -> str:
    """The name of the entry for the module with this SHA-256 (hex), these settings and this machine."""
    parts = (wasm_sha256, settings, wasmtime_version(), machine_identity())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _candidates(directory: Path | str | None) -> Iterator[Path]:
    """Candidate directories, preferred first: a later one is used if an earlier one cannot be created."""
    explicit = directory or os.environ.get("PORTALIS_CACHE_DIR")
    if explicit:
        yield Path(os.path.expanduser(explicit))  # noqa: PTH111  # Path.expanduser raises for a user without a home
        return
    cache_home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache_home.is_absolute():  # the XDG specification requires to ignore relative paths
        cache_home = Path(os.path.expanduser("~/.cache"))  # noqa: PTH111
    if cache_home.is_absolute():  # otherwise the user has no home, as in some containers
        yield cache_home / "portalis" / "modules"
    yield Path(tempfile.gettempdir(), f"portalis-modules-{os.geteuid()}")


class CompileCache:
    """Compiled modules by `cache_key`. Any number of threads and processes can use one directory concurrently.

    The directory is `directory`, ``$PORTALIS_CACHE_DIR``, the user's cache directory, or a private one in the temporary
    directory, in this order. It is created if it is missing. No method raises for disk errors: an entry that cannot be
    read is a miss, and one that cannot be written is not stored. `disabled_reason` is the reason why the cache is
    disabled, or "". `rejected` counts entries that failed verification and were removed. If the entries exceed
    `max_bytes`, the least recently used ones are removed.
    """

    def __init__(self, directory: Path | str | None = None, *, max_bytes: int = 2 << 30) -> None:
        self.max_bytes = max_bytes
        self.disabled_reason = ""
        self.hits = self.misses = self.rejected = 0
        self._counting = threading.Lock()
        self.directory = Path()
        self._choose(directory)

    def get(self, key: str) -> memoryview | None:
        """The verified payload stored under `key`; None if none is stored or verification fails."""
        payload = None
        with contextlib.suppress(OSError), self._opened() as folder:
            payload = self._checked(folder, _file_name(key), read_secret(folder))
        with self._counting:
            if payload is None:
                self.misses += 1
            else:
                self.hits += 1
        return payload

    def put(self, key: str, payload: bytes | bytearray | memoryview) -> None:
        """Store `payload` under `key`, if possible."""
        name = _file_name(key)
        view = memoryview(payload).cast("B")
        if len(view) + HEADER_BYTES > self.max_bytes:
            return
        try:
            with self._opened(create=True) as folder:
                secret = read_secret(folder) or new_secret(folder)
                temporary = write_temporary(folder, MAGIC + _mac(secret, name, view), view)
                try:
                    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                except BaseException:
                    remove_file(folder, temporary)
                    raise
                self._prune(folder)
        except OSError as error:
            if not self.disabled_reason:
                _warn_once(
                    f"a compiled module cannot be stored in {self.directory}, so it is compiled again at the next"
                    f" start: {error.strerror}"
                )

    # -- the directory ---------------------------------------------------------------------------------------

    def _choose(self, directory: Path | str | None) -> None:
        if not hasattr(os, "geteuid"):  # pragma: no cover  # Windows: no owner and mode to check
            self.disabled_reason = "the cache of compiled modules needs a POSIX system"
            return
        problems = []
        try:
            for candidate in _candidates(directory):
                try:
                    self.directory = candidate.absolute()
                    with self._opened(create=True):
                        return
                except OSError as error:
                    if self.disabled_reason:
                        return
                    problems.append(f"{candidate}: {error.strerror}")
        except FileNotFoundError as error:  # no temporary directory exists
            problems.append(str(error.strerror))
        self._disable("; ".join(problems))

    def _disable(self, reason: str) -> None:
        self.disabled_reason = (
            f"compiled modules are not cached, so each start compiles again: {reason}"
            " (PORTALIS_CACHE_DIR can name a different directory)"
        )
        _warn_once(self.disabled_reason)

    @contextlib.contextmanager
    def _opened(self, create: bool = False) -> Iterator[int]:
        """The checked directory as a file descriptor, in which names are resolved even if its path is renamed.

        It is opened and checked for each use, to detect that it was removed or made accessible to other users.
        """
        if self.disabled_reason:
            raise OSError(errno.ENOTSUP, self.disabled_reason)
        if create:
            create_folder(self.directory)
        try:
            folder = open_folder(self.directory)
        except UnsafeFolder as error:
            self._disable(f"{self.directory} {error}")
            raise OSError(errno.EPERM, self.disabled_reason) from None
        try:
            yield folder
        finally:
            os.close(folder)

    # -- entries ---------------------------------------------------------------------------------------------

    def _checked(self, folder: int, name: str, secret: bytes | None) -> memoryview | None:
        entry = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            status = os.fstat(entry)
            if stat.S_ISREG(status.st_mode) and HEADER_BYTES <= status.st_size <= self.max_bytes and secret:
                content = read_up_to(entry, status.st_size)
                payload = memoryview(content)[HEADER_BYTES:]
                expected = MAGIC + _mac(secret, name, payload)
                if hmac.compare_digest(content[:HEADER_BYTES], expected):
                    with contextlib.suppress(OSError):  # on a read-only file system nothing is pruned either
                        os.utime(entry)
                    return payload
        finally:
            os.close(entry)
        remove_file(folder, name)
        with self._counting:
            self.rejected += 1
        _LOG.warning("the compiled module %s in %s failed its check and was removed", name, self.directory)
        return None

    def _prune(self, folder: int) -> None:
        """If the entries exceed `max_bytes`, remove the least recently used ones until a tenth is free.

        Only files with names of cache entries are removed: the directory can contain other files.
        """
        entries = []
        stale = time.time() - STALE_S
        with os.scandir(folder) as listing:
            for item in listing:
                with contextlib.suppress(FileNotFoundError):  # removed by another process
                    status = item.stat(follow_symlinks=False)
                    if _ENTRY.fullmatch(item.name):
                        entries.append((status.st_mtime, status.st_size, item.name))
                    elif TEMPORARY.fullmatch(item.name) and status.st_mtime < stale:
                        remove_file(folder, item.name)
        total = sum(size for _, size, _ in entries)
        if total <= self.max_bytes:
            return
        for _, size, name in sorted(entries)[:-1]:  # the newest was just written
            if total <= self.max_bytes - self.max_bytes // 10:
                break
            remove_file(folder, name)
            total -= size


def _file_name(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"expected a key from cache_key, got {key!r}")
    return key + SUFFIX


def _mac(secret: bytes, name: str, payload: memoryview) -> bytes:
    # HMAC-SHA256, not keyed BLAKE2b: OpenSSL uses the CPU's SHA instructions (24 MiB: 16 ms instead of 36 ms).
    mac = hmac.new(secret, MAGIC + name.encode() + len(payload).to_bytes(8, "little"), "sha256")
    mac.update(payload)
    return mac.digest()
