"""The differences between the service and Triton that stay, each with its reason. docs/service.md has the same table."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class KnownDifference:
    """One difference: the cases that show it, and no others, and the aspects of their responses that differ."""

    about: str
    """What differs, for the documentation."""
    reason: str
    cases: tuple[str, ...]
    """Names of cases; ``*`` stands for any text."""
    aspects: tuple[str, ...]
    _pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        alternatives = "|".join(re.escape(case).replace(r"\*", ".*") for case in self.cases)
        object.__setattr__(self, "_pattern", re.compile(alternatives))

    def has(self, case: str) -> bool:
        """Whether the entry lists the case."""
        return self._pattern.fullmatch(case) is not None


KNOWN_DIFFERENCES: tuple[KnownDifference, ...] = ()


def entry_for(case: str) -> KnownDifference | None:
    """The entry that lists a case."""
    return next((entry for entry in KNOWN_DIFFERENCES if entry.has(case)), None)
