"""Checks an archive against the checksum files beside it, in the format of ``sha256sum`` and ``b3sum``."""

from __future__ import annotations

import hmac
import os
import re
import stat
from pathlib import Path

from ...spec.distribution import ChecksumAlgorithm
from ..archive.checksums import ENDINGS
from .refused import AGAIN
from .shipped import Finding
from .subject import Checked, Subject

NAME = "checksums"
_MAX_BYTES = 1 << 20
_LINE = re.compile(r"([0-9A-Fa-f]+) [ *](.+)")


def check_sums(subject: Subject) -> Checked:
    """Every checksum file that is there has to be right."""
    if not subject.is_archive:
        return Checked(name=NAME, told="those of an archive lie beside it; this is a folder")
    right, findings = [], []
    for algorithm, ending in ENDINGS.items():
        place = subject.path.with_name(f"{subject.path.name}.{ending}")
        if not os.path.lexists(place):
            continue
        if (wrong := _trouble(place, subject.path.name, subject.digests[algorithm])) is None:
            right.append(algorithm.value)
        else:
            findings.append(Finding(check=NAME, message=f"{place.name} {wrong}", remediation=AGAIN))
    told = f"{', '.join(right)}: the archive is what the files beside it say" if right else "no file beside it is right"
    if not right and not findings:
        told = f"there is no checksum file, such as {subject.path.name}.{ENDINGS[ChecksumAlgorithm.SHA256]}, beside it"
    return Checked(name=NAME, told=told, findings=tuple(findings), proves=bool(right))


def _trouble(place: Path, name: str, digest: str) -> str | None:
    """Why the checksum file at `place` does not say that the file `name` has `digest`."""
    try:
        if not stat.S_ISREG(place.stat().st_mode) or place.stat().st_size > _MAX_BYTES:
            return "is no file, or a very large one"
        lines = place.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return f"cannot be read: {error}"
    said = []
    for line in filter(None, lines):
        if (found := _LINE.fullmatch(line)) is None:
            return "is no list of checksums"
        if found[2] == name:
            said.append(found[1].lower())
    if not said:
        return f"has no checksum of {name}"
    if not all(hmac.compare_digest(each, digest) for each in said):
        return f"says {said[0]}, and the archive has {digest}"
    return None
