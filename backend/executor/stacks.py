"""Sees to it that guest code has the stack that its limit promises.

wasmtime counts a guest's stack from where the call begins and takes the thread's own bounds on trust: where the thread
has less, deep recursion ends the process with SIGSEGV instead of a trap. Threads are that small under ``ulimit -s``, in
other C libraries, or by ``threading.stack_size``; then the call runs on a thread of its own that is large enough.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from ctypes import byref, c_size_t, c_ulong, c_void_p
from typing import Any, TypeVar

from ..errors import HostBusy

T = TypeVar("T")
RESERVE_BYTES = 512 << 10  # for Python: what lies on the stack before the call, and what host functions need in it
_ASSUMED_BYTES = 512 << 10  # where the system does not say: the smallest default of a thread (macOS)
_UNIT = 64 << 10  # of a stack's size: systems want whole pages
_starting = threading.Lock()  # `threading.stack_size` holds for the process


def thread_stack_bytes() -> int:
    """The size of the calling thread's stack in bytes."""
    libc: Any = ctypes.CDLL(None)
    attributes = ctypes.create_string_buffer(256)  # pthread_attr_t: 56 bytes and more
    where, size = c_void_p(), c_size_t()
    try:
        libc.pthread_self.restype = c_ulong
        if libc.pthread_getattr_np(c_ulong(libc.pthread_self()), attributes):
            return _ASSUMED_BYTES
        libc.pthread_attr_getstack(attributes, byref(where), byref(size))
        libc.pthread_attr_destroy(attributes)
    except AttributeError:  # pragma: no cover  # neither glibc nor musl
        return _ASSUMED_BYTES
    return size.value


def run_on_larger_stack(stack_bytes: int, call: Callable[[], T]) -> T:
    """The result of `call`, made on a new thread with a stack of `stack_bytes`. Raises HostBusy where none starts."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  # it is raised in the caller's thread
            future.set_exception(error)

    thread = threading.Thread(target=run, name="wasm-stack", daemon=True)
    size = -(-stack_bytes // _UNIT) * _UNIT
    with _starting:
        previous = threading.stack_size(size)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            raise HostBusy(f"no thread with a stack of {size} bytes can be started for the guest: {error}") from None
        finally:
            threading.stack_size(previous)
    interrupt: KeyboardInterrupt | None = None
    while thread.is_alive():  # the guest works in memory that is freed afterwards; its deadline ends it
        try:
            thread.join()
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
    return future.result()


def _after_fork() -> None:
    global _starting  # noqa: PLW0603  # whoever holds it does not exist in the child
    _starting = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
