"""Counts the instances of one test, each of which is a wasmtime store: those of earlier tests are freed at any moment."""

from __future__ import annotations

import weakref

from portalis.backend.executor import store
from tests.backend.native import cores
from tests.running.garbage import wait_collected


class New:
    """The stores that were made since this object was."""

    def __init__(self) -> None:
        self._before = weakref.WeakSet(store._live)

    def __len__(self) -> int:
        return len(store._live - self._before)

    def go_down_to(self, most: int) -> None:
        """Fail unless at most `most` of them are left once garbage is collected."""
        wait_collected(lambda: len(self) <= most, lambda: f"{len(self)} stores are left, not {most}")


def new(executor: str) -> New | cores.Instances:
    """The instances of `executor` that were made since then."""
    return cores.Instances() if executor == "core" else New()
