"""The limit on guest instances that all programs of a process share.

If the operating system has no memory for another instance, or MAX_INSTANCES exist, idle instances of any program are
evicted. A call waits up to WAIT_S for that before it fails with HostBusy.
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

MAX_INSTANCES = 4096
"""Each takes 4 GiB of address space, and some of the 65,530 mappings that Linux allows a process."""
WAIT_S = 0.5
_PAUSE_S = 0.01


class InstanceOwner(Protocol):
    """A holder of idle instances."""

    called_at: float  # time of its last call, by ``time.monotonic()``

    def evict_idle(self) -> bool:
        """Close an idle instance whose state is not needed. False if it has none."""


T = TypeVar("T")
_owners: weakref.WeakSet[InstanceOwner] = weakref.WeakSet()
_lock = threading.Lock()


def register_owner(owner: InstanceOwner) -> None:
    """Allow the eviction of the idle instances of `owner`."""
    with _lock:
        _owners.add(owner)


def evict_idle() -> bool:
    """Close one idle instance of the least recently called program. False if none is idle."""
    with _lock:
        owners = sorted(_owners, key=lambda owner: owner.called_at)
    return any(owner.evict_idle() for owner in owners)


def start_instance(linked: LinkedModules, create: Callable[[Store], T], state: HostState, deadline: Deadline) -> T:
    """The instance that `create` creates in a new store; it is counted, also if its start fails.

    Raises HostBusy if the process has no capacity within WAIT_S, GuestError if the start fails.
    """
    linked.stats.count_instance()
    until = min(deadline.at, time.monotonic() + WAIT_S)
    while True:
        try:
            if live_stores() >= MAX_INSTANCES:
                raise HostBusy(f"the maximum is {MAX_INSTANCES}")
            return create(Store(linked, state, deadline))
        except MemoryLimit as error:
            raise MemoryLimit(
                f"the module needs more memory than its limit of {linked.limits.max_memory_bytes} bytes"
                f" ({linked.setting_names.raise_advice('max_memory_bytes')}): {error}"
            ) from None
        except HostBusy as error:
            if time.monotonic() >= until:
                raise HostBusy(
                    f"cannot create another instance: this process has {live_stores()} ({error}); retry later, or run"
                    " fewer models and requests in one process"
                ) from None
            evict_idle()
            time.sleep(_PAUSE_S)


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  # a thread that holds it does not exist in the child
    _owners.clear()
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
