"""Host functions implemented here: WASI's streams, clocks, sleep and random bytes, and AssemblyScript's ``abort``.

Each receives the caller's memory, the host state and its parameters, unsigned.

wasmtime's own WASI writes from a thread pool, so output could arrive after the call. It sleeps and generates random
bytes in native code, which no deadline interrupts. Its clock has a different origin than Python's, so time and sleep
both use one clock here.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Callable

import wasmtime

from ..wasm.imports import ABORT, WASI
from .host_state import HostState

FAULT = 21  # __wasi_errno_t: a bad pointer
_BADF, _INVAL, _IO = 8, 28, 29
_REALTIME, _MONOTONIC, _LAST_CLOCK = 0, 1, 3  # __wasi_clockid_t: 2 and 3 are CPU times, which guests cannot read
_CLOCK_EVENT, _LAST_EVENT = 0, 2  # __wasi_eventtype_t: clock, fd_read, fd_write
_ABSOLUTE = 1  # __wasi_subclockflags_t
_SUBSCRIPTION, _EVENT, _IOVEC = 48, 32, 8
_MAX_IOVECS, _MAX_SUBSCRIPTIONS = 1024, 64
_RANDOM_CHUNK = 1 << 20  # a few milliseconds

Function = Callable[..., int]
"""A host function, which returns an errno."""


class GuestMemory:
    """The memory that the calling instance exports (size 0 if none), valid during one host function."""

    __slots__ = ("_base", "size")

    def __init__(self, caller: wasmtime.Caller) -> None:
        memory = caller.get("memory")
        self._base = self.size = 0
        if isinstance(memory, wasmtime.Memory):
            self.size = memory.data_len(caller)
            self._base = ctypes.addressof(memory.data_ptr(caller).contents) if self.size else 0

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start`. Raises IndexError outside the memory."""
        self.check(start, size)
        return ctypes.string_at(self._base + start, size)

    def write(self, start: int, data: bytes) -> None:
        """Write `data` at `start`. Raises IndexError outside the memory."""
        self.check(start, len(data))
        ctypes.memmove(self._base + start, data, len(data))

    def check(self, start: int, size: int) -> None:
        """Raise IndexError unless `size` bytes from `start` are inside the memory."""
        if start < 0 or start + size > self.size:
            raise IndexError("outside memory")


def _buffers(memory: GuestMemory, vectors: int, count: int) -> list[tuple[int, int]]:
    """The (pointer, length) pairs of an iovec array. Raises IndexError for a buffer outside the memory."""
    block = memory.read(vectors, min(count, _MAX_IOVECS) * _IOVEC)
    pairs = list(struct.iter_unpack("<II", block))
    for pointer, length in pairs:
        memory.check(pointer, length)
    return pairs


def _fd_write(memory: GuestMemory, host: HostState, fd: int, vectors: int, count: int, written: int) -> int:
    if fd not in (1, 2):
        return _BADF
    output, total = (host.stdout if fd == 1 else host.stderr), 0
    for pointer, length in _buffers(memory, vectors, count):
        # Bytes beyond the cap are only counted, not copied.
        kept = min(length, output.cap - len(output.data))
        output.data += memory.read(pointer, kept)
        output.dropped += length - kept
        total += length
        if output.fails_past_cap and output.dropped:
            return _IO
    memory.write(written, struct.pack("<I", total & 0xFFFFFFFF))
    return 0


def _fd_read(memory: GuestMemory, host: HostState, fd: int, vectors: int, count: int, stored: int) -> int:
    if fd != 0:
        return _BADF
    total = 0
    for pointer, length in _buffers(memory, vectors, count):
        piece = host.stdin[:length]
        if piece:
            memory.write(pointer, bytes(piece))
        host.stdin = host.stdin[len(piece) :]
        total += len(piece)
    memory.write(stored, struct.pack("<I", total))
    return 0


def _now_ns(host: HostState, clock: int) -> int:
    """The time of `clock` for the guest; its monotonic clock starts with its instance."""
    return time.time_ns() if clock == _REALTIME else time.monotonic_ns() - host.began_ns


def _clock_time_get(memory: GuestMemory, host: HostState, clock: int, precision: int, stored: int) -> int:
    return _store_clock(memory, clock, stored, _now_ns(host, clock))


def _clock_res_get(memory: GuestMemory, host: HostState, clock: int, stored: int) -> int:
    return _store_clock(memory, clock, stored, 1)  # nanoseconds


def _store_clock(memory: GuestMemory, clock: int, stored: int, value: int) -> int:
    if clock not in (_REALTIME, _MONOTONIC):
        return _BADF if clock <= _LAST_CLOCK else _INVAL
    memory.write(stored, struct.pack("<Q", value))
    return 0


def _poll_oneoff(memory: GuestMemory, host: HostState, subscriptions: int, events: int, count: int, stored: int) -> int:
    """Sleep until the first clock fires; streams are always ready. A sleep past the deadline ends the call."""
    if not 0 < count <= _MAX_SUBSCRIPTIONS:
        return _INVAL
    memory.check(events, count * _EVENT)  # before sleeping
    block = memory.read(subscriptions, count * _SUBSCRIPTION)
    delays, ready = [], []
    for at in range(0, len(block), _SUBSCRIPTION):
        kind = block[at + 8]
        clock, delay_ns, flags = struct.unpack_from("<I4xQ8xH", block, at + 16)  # __wasi_subscription_clock_t
        if kind > _LAST_EVENT or (kind == _CLOCK_EVENT and clock not in (_REALTIME, _MONOTONIC)):
            return _INVAL
        if flags & _ABSOLUTE:
            delay_ns -= _now_ns(host, clock)
        delays.append(max(0, delay_ns) if kind == _CLOCK_EVENT else 0)
        ready.append(block[at : at + 8] + bytes([0, 0, kind]) + bytes(_EVENT - 11))
    wait = min(delays)
    if wait:
        time.sleep(max(0.0, min(wait / 1e9, host.deadline - time.monotonic())))
        if host.is_late():
            return 0
    fired = [event for event, delay in zip(ready, delays) if delay <= wait]
    memory.write(events, b"".join(fired))
    memory.write(stored, struct.pack("<I", len(fired)))
    return 0


def _random_get(memory: GuestMemory, host: HostState, start: int, size: int) -> int:
    memory.check(start, size)
    end = start + size
    for at in range(start, end, _RANDOM_CHUNK):
        memory.write(at, os.urandom(min(_RANDOM_CHUNK, end - at)))
        if host.is_late():
            break
    return 0


def _abort(memory: GuestMemory, host: HostState, message: int, file: int, line: int, column: int) -> int:
    """AssemblyScript's ``abort``: record its message; the guest traps right after the call."""
    try:
        text, where = _utf16(memory, message), _utf16(memory, file)
        host.abort_message = f"{text} at {where}:{line}:{column}"
    except IndexError:
        host.abort_message = "abort"
    return 0


def _utf16(memory: GuestMemory, pointer: int) -> str:
    if not pointer:
        return ""
    (size,) = struct.unpack("<I", memory.read(pointer - 4, 4))  # AssemblyScript: rtSize before the data
    return memory.read(pointer, min(size, 2048)).decode("utf-16-le", "replace")


FUNCTIONS: dict[tuple[str, str], Function] = {
    (WASI, "fd_write"): _fd_write,
    (WASI, "fd_read"): _fd_read,
    (WASI, "clock_time_get"): _clock_time_get,
    (WASI, "clock_res_get"): _clock_res_get,
    (WASI, "poll_oneoff"): _poll_oneoff,
    (WASI, "random_get"): _random_get,
    ABORT: _abort,
}
"""Host functions by module and name; `imports.HOST_FUNCTIONS` has their types."""
