"""An authenticated cache of compiled modules on disk.

A compiled module is machine code: loading a damaged or forged one runs whatever is in it, and wasmtime does
not notice. So an entry is used only after its MAC, made with a secret that only this user can read, was
checked over the very bytes that are handed out. The secret lies beside the entries: this protects from
damage, from mixed-up files and from other users, not from someone who already acts as the server's own user.
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

MAGIC = b"portalis-code-01"  # 16 bytes; the number is the version of this layout: MAGIC, MAC, payload
HEADER_BYTES = len(MAGIC) + hashlib.sha256().digest_size
SUFFIX = ".code"
STALE_S = 3600.0  # a temporary file this old was left by a process that was killed

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
    """What machine code depends on besides the settings: system, architecture, CPU model, features."""
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
    """Where the cache may lie, best first; a later one serves where an earlier one cannot be created."""
    explicit = directory or os.environ.get("PORTALIS_CACHE_DIR")
    if explicit:
        yield Path(os.path.expanduser(explicit))  # noqa: PTH111  # Path's own raises for a user without a home
        return
    cache_home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache_home.is_absolute():  # the XDG specification: a relative path is to be ignored
        cache_home = Path(os.path.expanduser("~/.cache"))  # noqa: PTH111
    if cache_home.is_absolute():  # else a user id without a home, as containers have
        yield cache_home / "portalis" / "modules"
    yield Path(tempfile.gettempdir(), f"portalis-modules-{os.geteuid()}")


class CompileCache:
    """Compiled modules by `cache_key`. Any number of threads and processes may use one directory at once.

    It lies in `directory`, else in ``$PORTALIS_CACHE_DIR``, the user's cache directory, or one of this user
    alone under the temporary directory; it is made if it is missing. No method raises for what the disk does:
    an entry that cannot be read is a miss, one that cannot be written is not kept. `disabled_reason` tells
    why the cache is off, "" while it is on. `rejected` counts entries that failed their check and were
    removed. Past `max_bytes` the entries used longest ago are removed.
    """

    def __init__(self, directory: Path | str | None = None, *, max_bytes: int = 2 << 30) -> None:
        self.max_bytes = max_bytes
        self.disabled_reason = ""
        self.hits = self.misses = self.rejected = 0
        self._counting = threading.Lock()
        self.directory = Path()
        self._choose(directory)

    def get(self, key: str) -> memoryview | None:
        """The payload stored as `key`, checked; None where there is none that can be trusted."""
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
        """Keep `payload` as `key`, if that is possible."""
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
                    f"a compiled module cannot be kept in {self.directory}, so it is compiled again at the"
                    f" next start: {error.strerror}"
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
                except OSError as error:  # one to three turns
                    if self.disabled_reason:
                        return
                    problems.append(f"{candidate}: {error.strerror}")
        except FileNotFoundError as error:  # there is no temporary directory either
            problems.append(str(error.strerror))
        self._disable("; ".join(problems))

    def _disable(self, why: str) -> None:
        self.disabled_reason = (
            f"compiled modules are not cached, so each start compiles again: {why}"
            " (PORTALIS_CACHE_DIR can name another directory)"
        )
        _warn_once(self.disabled_reason)

    @contextlib.contextmanager
    def _opened(self, create: bool = False) -> Iterator[int]:
        """The checked directory as a file descriptor: names are resolved in it, whatever is renamed
        meanwhile.

        It is opened and checked for each use, so that a directory that is removed or opened up later is
        noticed.
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
                    with contextlib.suppress(OSError):  # read-only: nothing is pruned there either
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
        """Where the entries take more than `max_bytes`, remove those used longest ago until a tenth is free.

        Only files with names that are surely ours are touched: the directory may be one that has others too.
        """
        entries = []
        stale = time.time() - STALE_S
        with os.scandir(folder) as listing:
            for item in listing:
                with contextlib.suppress(FileNotFoundError):  # another process prunes too
                    status = item.stat(follow_symlinks=False)
                    if _ENTRY.fullmatch(item.name):
                        entries.append((status.st_mtime, status.st_size, item.name))
                    elif TEMPORARY.fullmatch(item.name) and status.st_mtime < stale:
                        remove_file(folder, item.name)
        total = sum(size for _, size, _ in entries)
        if total <= self.max_bytes:
            return
        for _, size, name in sorted(entries)[:-1]:  # the newest is the one just written
            if total <= self.max_bytes - self.max_bytes // 10:
                break
            remove_file(folder, name)
            total -= size


def _file_name(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a key made by cache_key: {key!r}")
    return key + SUFFIX


def _mac(secret: bytes, name: str, payload: memoryview) -> bytes:
    # HMAC-SHA256 rather than keyed BLAKE2b: OpenSSL uses the CPU's SHA instructions (24 MiB: 16 ms, not 36
    # ms).
    mac = hmac.new(secret, MAGIC + name.encode() + len(payload).to_bytes(8, "little"), "sha256")
    mac.update(payload)
    return mac.digest()
