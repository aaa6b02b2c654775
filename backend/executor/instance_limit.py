"""What all programs of a process share: room for instances. Idle instances give way to those that are needed.

Where the system has no memory for another, or MAX_INSTANCES exist, idle instances of any program are dropped, and a
call waits for WAIT_S before it fails with HostBusy.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol, TypeVar

from ..errors import HostBusy, MemoryLimit
from .executor import Deadline
from .host_state import HostState
from .store import LinkedModules, Store, live_stores

MAX_INSTANCES = 4096  # each takes 4 GiB of address space and some of the 65,530 mappings that Linux gives a process
WAIT_S = 0.5
_PAUSE_S = 0.01


class InstanceOwner(Protocol):
    """Who keeps idle instances."""

    called_at: float  # when it was called last, by ``time.monotonic()``

    def evict_idle(self) -> bool:
        """Drop an idle instance whose state nobody counts on. False where there is none."""


T = TypeVar("T")
_owners: weakref.WeakSet[InstanceOwner] = weakref.WeakSet()
_lock = threading.Lock()


def register_owner(owner: InstanceOwner) -> None:
    """Let the idle instances of `owner` give way to others."""
    with _lock:
        _owners.add(owner)


def evict_idle() -> bool:
    """Drop one idle instance, of the program that was called longest ago. False where all are busy."""
    with _lock:
        owners = sorted(_owners, key=lambda owner: owner.called_at)
    return any(owner.evict_idle() for owner in owners)


def start_instance(linked: LinkedModules, make: Callable[[Store], T], state: HostState, deadline: Deadline) -> T:
    """The instance that `make` makes in a new store; it is counted. Raises HostBusy where there is no room in time,
    GuestError where its start fails."""
    linked.stats.count_instance()
    until = min(deadline.at, time.monotonic() + WAIT_S)
    while True:
        try:
            if live_stores() >= MAX_INSTANCES:
                raise HostBusy(f"{MAX_INSTANCES} are the most for one process")
            return make(Store(linked, state, deadline))
        except MemoryLimit as error:
            raise MemoryLimit(
                f"the module needs more memory than its limit of {linked.limits.max_memory_bytes} bytes"
                f" ({linked.setting_names.raise_advice('max_memory_bytes')}): {error}"
            ) from None
        except HostBusy as error:
            if time.monotonic() >= until:
                raise HostBusy(
                    f"this host has no room for another instance beside {live_stores()} others ({error}):"
                    " send the request again later, or have fewer models and requests in one process"
                ) from None
            evict_idle()
            time.sleep(_PAUSE_S)


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  # whoever holds it does not exist in the child
    _owners.clear()
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
