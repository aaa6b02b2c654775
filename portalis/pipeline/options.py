"""What the command line says of a run, beside the spec."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..errors import UsageError
from ..problems import did_you_mean
from .target_registry import TARGETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`only` and `skip` are names of targets, `modules` of the modules that are worked on (all when empty); `live`
    tries what is made on real servers, `tries_images` runs images once they are built; `force` replaces a directory
    that portalis has not written."""

    only: Collection[str] = ()
    skip: Collection[str] = ()
    modules: Collection[str] = ()
    live: bool = False
    tries_images: bool = True
    force: bool = False

    def check(self) -> None:
        """Raise UsageError for a name that is no target's."""
        for name in (*self.only, *self.skip):
            if name not in TARGETS:
                raise UsageError(f"there is no target {name!r}", remediation=did_you_mean(name, list(TARGETS)))

    def leaves_out(self, name: str) -> str | None:
        """Why the target `name` does not run; None where it may."""
        if self.only and name not in self.only:
            return f"left out by --only {' --only '.join(self.only)}"
        return f"left out by --skip {name}" if name in self.skip else None
