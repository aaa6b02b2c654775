"""Checks the copies of manifest and README that lie beside an archive against those in it."""

from __future__ import annotations

import os
from pathlib import Path

from ...digests import file_digest
from ..archive.readme import ENDINGS
from .manifest_check import MANIFESTS
from .shipped import Finding
from .subject import Checked, Subject

NAME = "copies"
_COPIED = (*MANIFESTS, *(f"README.{ending}" for ending in ENDINGS.values()))


def check_copies(subject: Subject) -> Checked:
    """Those that are there are the same."""
    here = [name for name in _COPIED if name in subject.files and os.path.lexists(subject.path.with_name(name))]
    findings = tuple(
        Finding(check=NAME, message=f"{name} beside {subject.path.name} is not the one in it")
        for name in here
        if not _is_same(subject.path.with_name(name), subject.files[name].sha256)
    )
    return Checked(name=NAME, told=f"{', '.join(here) or 'none'} beside it", findings=findings)


def _is_same(place: Path, sha256: str) -> bool:
    return place.is_file() and file_digest(place).sha256 == sha256
