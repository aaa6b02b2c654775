"""What checks look at, and what they answer: a new check is a function of that shape in `checks.CHECKS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...spec.distribution import ChecksumAlgorithm
from .package_contents import Seen
from .shipped import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A package that was read. `files` and `kept` have their paths below `top`, the archive's own folder."""

    path: Path
    is_archive: bool
    top: str
    """Empty for a folder."""
    files: Mapping[str, Seen]
    kept: Mapping[str, bytes]
    digests: Mapping[ChecksumAlgorithm, str]
    """Of the archive itself, in hex; none for a folder."""
    whole: bool
    """Whether all of it could be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check says: `told` is a sentence for the user; `proves` is whether it holds the contents to something."""

    name: str
    told: str
    findings: tuple[Finding, ...] = ()
    proves: bool = False


Check = Callable[[Subject], Checked]
