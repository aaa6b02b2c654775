"""What all programs of a process share: room for instances. Idle instances give way to those that are needed.

Memories come from the engine's pool, which has a fixed number of slots. Where all are taken, an idle instance of any
program is dropped; where none is idle, memory is made on demand by a second engine, which costs a few µs more. Only
where the system refuses that too, or MAX_INSTANCES are in use, a call waits for WAIT_S and then fails with HostBusy.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

from ..errors import HostBusy
from . import native
from .faults import PoolFull
from .pool import Janitor

MAX_INSTANCES = 4096  # each takes 4 GiB of address space and some of the 65,530 mappings that Linux gives a process
WAIT_S = 0.5
_PAUSE_S = 0.01


class Owner(Protocol):
    """Who keeps idle instances."""

    def calls(self) -> int:
        """How many calls there were so far."""

    def idle(self) -> int:
        """How many idle instances it keeps."""

    def give_way(self) -> bool:
        """Drop an idle instance whose state nobody counts on. False where there is none."""


_owners: weakref.WeakKeyDictionary[Owner, int] = weakref.WeakKeyDictionary()  # with the calls seen the last time
_lock = threading.Lock()
_janitor = Janitor()


def register(owner: Owner) -> None:
    """Let the idle instances of `owner` give way to others."""
    with _lock:
        _owners[owner] = -1


def give_way() -> bool:
    """Drop one idle instance, of a program that was not called of late if there is one. False where all are busy."""
    with _lock:
        counted = [(owner.calls(), seen, owner) for owner, seen in list(_owners.items())]
        for calls, _, owner in counted:
            _owners[owner] = calls
    counted.sort(key=lambda each: each[0] != each[1])
    return any(owner.give_way() for _, _, owner in counted)


def _some_are_called() -> bool:
    with _lock:
        return native.live_stores() > sum(owner.idle() for owner in list(_owners))


def start_in_pool(start: Callable[[], None]) -> bool:
    """Call `start`, which makes an instance in the pool, as idle instances give way. False where all are busy."""
    while True:
        try:
            start()
        except PoolFull:
            # The janitor takes the free slots for some milliseconds: no reason to drop instances.
            if _janitor.at_work or not give_way():
                return False
        else:
            _janitor.note(_some_are_called)
            return True


def start_on_demand(start: Callable[[], None], until: float) -> None:
    """Call `start`, which makes an instance without the pool, again and again while it raises HostBusy, but not past
    `until` (``time.monotonic()``) nor longer than WAIT_S. Raises HostBusy."""
    until = min(until, time.monotonic() + WAIT_S)
    while True:
        try:
            if native.live_stores() > MAX_INSTANCES:
                raise HostBusy(f"{MAX_INSTANCES} are the most for one process")
            start()
        except HostBusy as error:
            if time.monotonic() >= until:
                raise HostBusy(
                    f"this host has no room for another instance beside {native.live_stores() - 1} others ({error}):"
                    " send the request again later, or have fewer models and requests in one process"
                ) from None
            give_way()
            time.sleep(_PAUSE_S)
        else:
            return


def _after_fork() -> None:
    # Neither the janitor's thread nor whoever holds the lock exists in the child.
    global _janitor, _lock
    _owners.clear()
    _janitor, _lock = Janitor(), threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
