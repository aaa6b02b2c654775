"""The options of a run: command-line settings that are not part of the spec."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..errors import UsageError
from ..problems import did_you_mean
from .target_registry import TARGETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`only` and `skip` are names of targets; `modules` are the modules to package, all if it is empty.

    `live` validates artifacts on real servers, and `smoke_tests_images` runs images after they are built. `force`
    replaces an output directory that portalis has not written.
    """

    only: Collection[str] = ()
    skip: Collection[str] = ()
    modules: Collection[str] = ()
    live: bool = False
    smoke_tests_images: bool = True
    force: bool = False

    def check(self) -> None:
        """Raise UsageError for an unknown target."""
        for name in (*self.only, *self.skip):
            if name not in TARGETS:
                raise UsageError(f"unknown target {name!r}", remediation=did_you_mean(name, list(TARGETS)))

    def skip_reason(self, name: str) -> str | None:
        """The reason why these options skip the target `name`, or None."""
        if self.only and name not in self.only:
            return f"skipped by --only {' --only '.join(self.only)}"
        return f"skipped by --skip {name}" if name in self.skip else None
