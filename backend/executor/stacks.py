"""Ensures that guest code has as much stack as `Limits.max_stack_bytes` allows.

wasmtime counts a guest's stack from the start of the call and does not check the bounds of the thread's stack: on a
smaller stack, deep recursion ends the process with SIGSEGV instead of a trap. Stacks are that small under ``ulimit
-s``, in other C libraries, or with ``threading.stack_size``. Then the call runs on a new thread with a larger stack.
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
RESERVE_BYTES = 512 << 10
"""Stack for Python: its frames below the call, and host functions during the call."""
_ASSUMED_BYTES = 512 << 10  # if the operating system reports no size: the smallest default of a thread (macOS)
_UNIT = 64 << 10  # stack sizes are multiples of it: operating systems require whole pages
_starting = threading.Lock()  # `threading.stack_size` applies to the whole process


def thread_stack_bytes() -> int:
    """The size of the calling thread's stack in bytes."""
    libc: Any = ctypes.CDLL(None)
    attributes = ctypes.create_string_buffer(256)  # pthread_attr_t: 56 bytes and more
    address, size = c_void_p(), c_size_t()
    try:
        libc.pthread_self.restype = c_ulong
        if libc.pthread_getattr_np(c_ulong(libc.pthread_self()), attributes):
            return _ASSUMED_BYTES
        libc.pthread_attr_getstack(attributes, byref(address), byref(size))
        libc.pthread_attr_destroy(attributes)
    except AttributeError:  # pragma: no cover  # neither glibc nor musl
        return _ASSUMED_BYTES
    return size.value


def run_on_larger_stack(stack_bytes: int, call: Callable[[], T]) -> T:
    """The result of `call`, run on a new thread with a stack of `stack_bytes`. Raises HostBusy if no thread starts."""
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
            raise HostBusy(f"cannot start a thread with a stack of {size} bytes for the guest: {error}") from None
        finally:
            threading.stack_size(previous)
    interrupt: KeyboardInterrupt | None = None
    while thread.is_alive():  # the caller frees memory that the guest uses; the deadline ends the guest
        try:
            thread.join()
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
    return future.result()


def _after_fork() -> None:
    global _starting  # noqa: PLW0603  # a thread that holds it does not exist in the child
    _starting = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
