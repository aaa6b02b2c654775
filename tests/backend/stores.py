"""Counts the instances (wasmtime stores) of one test. Those of earlier tests can be freed at any time."""

from __future__ import annotations

import weakref

from portalis.backend.executor import store
from tests.backend.native import cores
from tests.running.garbage import wait_collected


class New:
    """The stores created since the creation of this object."""

    def __init__(self) -> None:
        self._before = weakref.WeakSet(store._live)

    def __len__(self) -> int:
        return len(store._live - self._before)

    def go_down_to(self, most: int) -> None:
        """Fail unless at most `most` stores remain after a garbage collection."""
        wait_collected(lambda: len(self) <= most, lambda: f"{len(self)} stores are left, not {most}")


def new(executor: str) -> New | cores.Instances:
    """A counter of the instances that `executor` creates from now on."""
    return cores.Instances() if executor == "core" else New()
