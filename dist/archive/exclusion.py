"""Which files of a folder a user leaves out or keeps: patterns as in a ``.gitignore``, the last that fits decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Exclusion:
    """``*.bak`` is a name anywhere, ``docs/*.md`` a path from the top, ``**`` any folders, ``drafts/`` a folder with
    all that is in it, and ``!`` before a pattern keeps what it fits."""

    patterns: tuple[str, ...] = ()

    def leaves_out(self, parts: Sequence[str], *, is_folder: bool) -> bool | None:
        """Whether the path of these `parts` is left out (True) or kept (False); None where no pattern fits."""
        for pattern in reversed(self.patterns):
            keep, bare = pattern.startswith("!"), pattern.removeprefix("!")
            if bare.endswith("/") and not is_folder:
                continue
            wanted = bare.strip("/").split("/")
            if len(wanted) == 1 and not bare.startswith("/"):
                wanted = ["**", *wanted]
            if _fits(parts, wanted):
                return not keep
        return None


def _fits(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_fits(parts[i:], wanted[1:]) for i in range(len(parts) + 1)) if wanted[1:] else bool(parts)
    return bool(parts) and fnmatchcase(parts[0], wanted[0]) and _fits(parts[1:], wanted[1:])
