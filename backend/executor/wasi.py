"""The host functions that this package serves itself: WASI's streams, clocks, sleep and random bytes, and
AssemblyScript's ``abort``.

wasmtime's own WASI writes from a thread pool (so output could arrive after the call), and sleeps and makes random bytes
in native code, where no deadline reaches it. Its clock has another origin than Python's, so both the time and sleep are
served from one clock here. A bad pointer is an errno of the guest; a deadline that passes ends the guest's call.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable

from ..errors import GuestError
from .callbacks import Callback, Memory
from .host_state import HostState
from .native import Store

WASI = "wasi_snapshot_preview1"
_BADF, _FAULT, _INVAL, _IO = 8, 21, 28, 29  # __wasi_errno_t
_REALTIME, _MONOTONIC, _LAST_CLOCK = 0, 1, 3  # __wasi_clockid_t: 2 and 3 are CPU times, which no guest is given
_CLOCK_EVENT, _LAST_EVENT = 0, 2  # __wasi_eventtype_t: clock, fd_read, fd_write
_ABSOLUTE = 1  # __wasi_subclockflags_t
_SUBSCRIPTION, _EVENT, _IOVEC = 48, 32, 8
_MAX_IOVECS, _MAX_SUBSCRIPTIONS = 1024, 64
_RANDOM_CHUNK = 1 << 20  # a few milliseconds

Wasi = Callable[..., int]


def _errno(function: Wasi) -> Wasi:
    """A host function whose pointers may be bad: then it returns an errno, as WASI says. Past the call's deadline it
    raises GuestTimeout."""

    def guarded(store: Store, caller: int, *arguments: int) -> int:
        store.check_deadline()
        try:
            return function(Memory(caller), store, *arguments)
        except GuestError:
            raise
        except Exception:  # noqa: BLE001  # whatever the guest passed is its own problem
            return _FAULT

    return guarded


def _buffers(memory: Memory, vectors: int, count: int) -> list[tuple[int, int]]:
    """The (pointer, length) pairs of an iovec array, all inside the memory."""
    block = memory.read(vectors, min(count, _MAX_IOVECS) * _IOVEC)
    pairs = list(struct.iter_unpack("<II", block))
    for pointer, length in pairs:
        memory.check(pointer, length)
    return pairs


@_errno
def _fd_write(memory: Memory, store: Store, fd: int, vectors: int, count: int, written: int) -> int:
    if fd not in (1, 2):
        return _BADF
    host: HostState = store.host_state
    output, total = (host.stdout if fd == 1 else host.stderr), 0
    for pointer, length in _buffers(memory, vectors, count):
        # Bytes past the cap are only counted, so a flood costs no copies.
        wanted = min(length, max(output.cap - len(output.data), 0) + 1)
        accepted = output.write(memory.read(pointer, wanted))
        output.dropped += length - wanted
        total += length
        if not accepted:
            return _IO
    memory.write(written, struct.pack("<I", total & 0xFFFFFFFF))
    return 0


@_errno
def _fd_read(memory: Memory, store: Store, fd: int, vectors: int, count: int, stored: int) -> int:
    if fd != 0:
        return _BADF
    host: HostState = store.host_state
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
    """The time of `clock` as the guest sees it; its monotonic clock starts with its instance."""
    return time.time_ns() if clock == _REALTIME else time.monotonic_ns() - host.began_ns


def _clock_errno(clock: int) -> int:
    return 0 if clock in (_REALTIME, _MONOTONIC) else _BADF if clock <= _LAST_CLOCK else _INVAL


@_errno
def _clock_time_get(memory: Memory, store: Store, clock: int, precision: int, stored: int) -> int:
    errno = _clock_errno(clock)
    if not errno:
        memory.write(stored, struct.pack("<Q", _now_ns(store.host_state, clock)))
    return errno


@_errno
def _clock_res_get(memory: Memory, store: Store, clock: int, stored: int) -> int:
    errno = _clock_errno(clock)
    if not errno:
        memory.write(stored, struct.pack("<Q", 1))  # nanoseconds
    return errno


@_errno
def _poll_oneoff(memory: Memory, store: Store, subscriptions: int, events: int, count: int, stored: int) -> int:
    """Sleep until the first clock fires. Streams are always ready. A sleep that the call's deadline cuts short does not
    return: it ends the call."""
    if not 0 < count <= _MAX_SUBSCRIPTIONS:
        return _INVAL
    memory.check(events, count * _EVENT)  # before a sleep for nothing
    block = memory.read(subscriptions, count * _SUBSCRIPTION)
    delays, ready = [], []
    for at in range(0, len(block), _SUBSCRIPTION):
        kind = block[at + 8]
        clock = struct.unpack_from("<I", block, at + 16)[0]
        if kind > _LAST_EVENT or (kind == _CLOCK_EVENT and clock not in (_REALTIME, _MONOTONIC)):
            return _INVAL
        delays.append(_delay_ns(block, at, store.host_state) if kind == _CLOCK_EVENT else 0)
        ready.append(block[at : at + 8] + bytes([0, 0, kind]) + bytes(_EVENT - 11))
    wait = min(delays)
    if wait:
        time.sleep(max(0.0, min(wait / 1e9, store.deadline - time.monotonic())))
        store.check_deadline()
    fired = [event for event, delay in zip(ready, delays) if delay <= wait]
    memory.write(events, b"".join(fired))
    memory.write(stored, struct.pack("<I", len(fired)))
    return 0


def _delay_ns(block: bytes, at: int, host: HostState) -> int:
    """Nanoseconds until a clock subscription fires (layout: ``__wasi_subscription_clock_t``)."""
    clock, timeout, flags = struct.unpack_from("<I4xQ8xH", block, at + 16)
    remaining: int = timeout - _now_ns(host, clock) if flags & _ABSOLUTE else timeout
    return max(0, remaining)


@_errno
def _random_get(memory: Memory, store: Store, start: int, size: int) -> int:
    memory.check(start, size)
    end = start + size
    for at in range(start, end, _RANDOM_CHUNK):
        memory.write(at, os.urandom(min(_RANDOM_CHUNK, end - at)))
        store.check_deadline()
    return 0


def _abort(store: Store, caller: int, message: int, file: int, line: int, column: int) -> None:
    """AssemblyScript's ``abort``: keep its text; the guest traps by itself right after."""
    host: HostState = store.host_state
    try:
        memory = Memory(caller)
        text, where = _utf16(memory, message), _utf16(memory, file)
        host.abort_message = f"{text} at {where}:{line}:{column}"
    except IndexError:
        host.abort_message = "abort"


def _utf16(memory: Memory, pointer: int) -> str:
    if not pointer:
        return ""
    (size,) = struct.unpack("<I", memory.read(pointer - 4, 4))  # AssemblyScript: rtSize before the data
    return memory.read(pointer, min(size, 2048)).decode("utf-16-le", "replace")


_I32 = ("i32",)
FUNCTIONS = (
    Callback(WASI, "fd_write", _I32 * 4, _I32, _fd_write),
    Callback(WASI, "fd_read", _I32 * 4, _I32, _fd_read),
    Callback(WASI, "clock_time_get", ("i32", "i64", "i32"), _I32, _clock_time_get),
    Callback(WASI, "clock_res_get", _I32 * 2, _I32, _clock_res_get),
    Callback(WASI, "poll_oneoff", _I32 * 4, _I32, _poll_oneoff),
    Callback(WASI, "random_get", _I32 * 2, _I32, _random_get),
    Callback("env", "abort", _I32 * 4, (), _abort),
)
