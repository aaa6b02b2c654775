"""What the host gives to guests: WASI without files, network or environment, and AssemblyScript's abort.

The streams, and sleeping, are served here instead of by wasmtime's own WASI: that one writes from a thread pool of its
own (so output could arrive after the call) and sleeps in native code (where no deadline reaches it). Everything else of
WASI is wasmtime's, with an empty context. Host functions never raise (see `native`): a bad pointer is an errno.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import wasmtime

from . import native
from .binary import ModuleInfo
from .errors import ModuleError

WASI = "wasi_snapshot_preview1"
_link_lock = threading.Lock()  # wasmtime-py's table of host functions is not thread-safe
_BADF, _FAULT, _INVAL, _IO = 8, 21, 28, 29  # __wasi_errno_t
_SUBSCRIPTION, _EVENT, _IOVEC = 48, 32, 8
_MAX_IOVECS, _MAX_SUBSCRIPTIONS = 1024, 64


class Output:
    """What one guest wrote to one stream, up to a cap; the rest is counted and dropped."""

    __slots__ = ("cap", "data", "dropped", "fail_past_cap")

    def __init__(self, cap: int) -> None:
        self.data = bytearray()
        self.cap = cap
        self.dropped = 0
        self.fail_past_cap = False

    def write(self, piece: bytes) -> bool:
        """Take a piece. False (the guest's write fails) once the cap is passed and `fail_past_cap` is set."""
        room = max(self.cap - len(self.data), 0)
        self.data += piece[:room]
        self.dropped += max(0, len(piece) - room)
        return not (self.fail_past_cap and self.dropped)

    def lines(self) -> list[str]:
        """The captured text, line by line, with a last line that says what was dropped."""
        lines = self.data.decode("utf-8", "backslashreplace").splitlines()
        if self.dropped:
            lines.append(f"... {self.dropped} more bytes were dropped (wasm.max_output_bytes is {self.cap})")
        return lines


class HostState:
    """The host's side of one store: its streams, the deadline, and the text of an AssemblyScript abort."""

    __slots__ = ("abort_message", "deadline", "stderr", "stdin", "stdout")

    def __init__(self, stdin: bytes, cap: int) -> None:
        self.stdin = memoryview(stdin)
        self.stdout = Output(cap)
        self.stderr = Output(cap)
        self.deadline = 0.0
        self.abort_message = ""


def link(engine: wasmtime.Engine, module: wasmtime.Module, info: ModuleInfo) -> wasmtime.InstancePre:
    """Resolve the module's imports. Raises ModuleError where they are not those that `loadable` accepts."""
    linker = provide(engine, info)
    try:
        return linker.instantiate_pre(module)
    except wasmtime.WasmtimeError as error:
        told = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
        raise ModuleError(f"{info.name} cannot be linked: {told}") from None


def provide(engine: wasmtime.Engine, info: ModuleInfo) -> wasmtime.Linker:
    """What the module may import. `loadable` has checked that its imports are among it, with their types."""
    linker = wasmtime.Linker(engine)
    linker.allow_shadowing = True
    if info.imports:
        with _link_lock:
            linker.define_wasi()
            for where, name, parameters, results, function in _FUNCTIONS:
                i32 = wasmtime.ValType.i32()
                kind = wasmtime.FuncType([i32] * parameters, [i32] * results)
                linker.define_func(where, name, kind, function, access_caller=True)
    return linker


def _errno(function: Callable[..., int]) -> Callable[..., int]:
    """A host function whose pointers may be bad: then it returns an errno, as WASI says."""

    def guarded(caller: Any, *arguments: int) -> int:
        try:
            memory, host = caller["memory"], native.current.store.host_state
            return function(memory, caller, host, *(native.u32(a) for a in arguments))
        except Exception:  # noqa: BLE001  # nothing may be raised through wasm frames
            return _FAULT

    return guarded


def _buffers(memory: Any, caller: Any, vectors: int, count: int) -> list[tuple[int, int]]:
    """The (pointer, length) pairs of an iovec array, all inside the memory."""
    block = _read(memory, caller, vectors, min(count, _MAX_IOVECS) * _IOVEC)
    pairs = list(struct.iter_unpack("<II", block))
    if any(pointer + length > memory.data_len(caller) for pointer, length in pairs):
        raise IndexError("outside memory")
    return pairs


def _read(memory: Any, caller: Any, start: int, size: int) -> bytes:
    data = bytes(memory.read(caller, start, start + size))
    if len(data) != size:
        raise IndexError("outside memory")
    return data


@_errno
def _fd_write(memory: Any, caller: Any, host: HostState, fd: int, vectors: int, count: int, written: int) -> int:
    if fd not in (1, 2):
        return _BADF
    output, total = (host.stdout if fd == 1 else host.stderr), 0
    for pointer, length in _buffers(memory, caller, vectors, count):
        # Bytes past the cap are only counted, so a flood costs no copies.
        wanted = min(length, max(output.cap - len(output.data), 0) + 1)
        accepted = output.write(_read(memory, caller, pointer, wanted))
        output.dropped += length - wanted
        total += length
        if not accepted:
            return _IO
    memory.write(caller, struct.pack("<I", total & 0xFFFFFFFF), written)
    return 0


@_errno
def _fd_read(memory: Any, caller: Any, host: HostState, fd: int, vectors: int, count: int, stored: int) -> int:
    if fd != 0:
        return _BADF
    total = 0
    for pointer, length in _buffers(memory, caller, vectors, count):
        piece = host.stdin[:length]
        if piece:
            memory.write(caller, bytes(piece), pointer)
        host.stdin = host.stdin[len(piece) :]
        total += len(piece)
    memory.write(caller, struct.pack("<I", total), stored)
    return 0


@_errno
def _poll_oneoff(
    memory: Any, caller: Any, host: HostState, subscriptions: int, events: int, count: int, stored: int
) -> int:
    """Sleeps until the first clock fires, or until the call's deadline. Streams are always ready."""
    if not 0 < count <= _MAX_SUBSCRIPTIONS:
        return _INVAL
    block = _read(memory, caller, subscriptions, count * _SUBSCRIPTION)
    delays, ready = [], []
    for i in range(count):
        raw = block[i * _SUBSCRIPTION : (i + 1) * _SUBSCRIPTION]
        delays.append(_delay_s(raw) if raw[8] == 0 else 0.0)
        ready.append(raw[:8] + bytes([0, 0, raw[8]]) + bytes(_EVENT - 11))
    wait = min(delays)
    time.sleep(max(0.0, min(wait, host.deadline - time.monotonic())))
    fired = [event for event, delay in zip(ready, delays) if delay <= wait]
    memory.write(caller, b"".join(fired), events)
    memory.write(caller, struct.pack("<I", len(fired)), stored)
    return 0


def _delay_s(subscription: bytes) -> float:
    """Seconds until a clock subscription fires (layout: ``__wasi_subscription_clock_t``)."""
    (clock,) = struct.unpack_from("<I", subscription, 16)
    timeout, flags = struct.unpack_from("<Q8xH", subscription, 24)
    seconds: float = timeout / 1e9
    if flags & 1:  # absolute
        seconds -= time.time() if clock == 0 else time.monotonic()
    return max(0.0, seconds)


def _abort(caller: Any, message: int, file: int, line: int, column: int) -> None:
    """AssemblyScript's ``abort``: keep its text; the guest traps by itself right after."""
    host = native.current.store.host_state
    try:
        memory = caller["memory"]
        text, where = (_utf16(memory, caller, native.u32(pointer)) for pointer in (message, file))
        host.abort_message = f"{text} at {where}:{line}:{column}"
    except Exception:  # noqa: BLE001  # nothing may be raised through wasm frames
        host.abort_message = "abort"


def _utf16(memory: Any, caller: Any, pointer: int) -> str:
    if not pointer:
        return ""
    (size,) = struct.unpack("<I", _read(memory, caller, pointer - 4, 4))  # AssemblyScript: rtSize before the data
    return _read(memory, caller, pointer, min(size, 2048)).decode("utf-16-le", "replace")


_FUNCTIONS: tuple[tuple[str, str, int, int, Callable[..., Any]], ...] = (
    (WASI, "fd_write", 4, 1, _fd_write),
    (WASI, "fd_read", 4, 1, _fd_read),
    (WASI, "poll_oneoff", 4, 1, _poll_oneoff),
    ("env", "abort", 4, 0, _abort),
)
