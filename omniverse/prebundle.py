"""Bundles NumPy and Wasmtime in ``pip_prebundle/``, so that the extension runs in a Kit whose Python has neither.

The wheels are unpacked as a whole, including tests and licenses (about 85 MB, 26 MB in the archive): all of Kit would
use the bundled NumPy, and other code could fail if parts of it were missing.
"""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final

from ..contracts.output import PackagingWarning, WarningSeverity
from ..output import OutputTree
from ..target import Job
from .kit_target import kit_python
from .wheels import BundledWheel, NoWheels, get_wheels

_FOLDER: Final = PurePosixPath("pip_prebundle")
_MAX_BYTES = 1 << 30  # unpacked; more than any pinned wheel


def bundled_files(job: Job) -> tuple[OutputTree, list[PackagingWarning]]:
    """The files, relative to the extension; no files and a warning if the wheels are unavailable."""
    config = job.spec.omniverse_config
    if not config.prebundle:
        return OutputTree(), []
    try:
        wheels = get_wheels(kit_python(config.required_kit_version), config.wheelhouse, job.report)
    except NoWheels as error:
        message = f"the Omniverse extension does not bundle NumPy and Wasmtime: {error}"
        return OutputTree(), [
            PackagingWarning(message=message, severity=WarningSeverity.High, remediation=error.remediation)
        ]
    return unpack_wheels(wheels), []


def unpack_wheels(wheels: Iterable[BundledWheel]) -> OutputTree:
    """The files of the wheels. Raises ValueError for a wheel with a path that points outside the directory."""
    tree = OutputTree()
    for wheel in wheels:
        with zipfile.ZipFile(io.BytesIO(wheel.data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if sum(entry.file_size for entry in entries) > _MAX_BYTES:
                raise ValueError(f"the wheel of {wheel.name} unpacks to more than {_MAX_BYTES:,} bytes")
            for entry, path in _paths(wheel, entries):
                tree.add(_FOLDER / path, archive.read(entry))
    return tree


def _paths(wheel: BundledWheel, entries: Iterable[zipfile.ZipInfo]) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    for entry in entries:
        name = entry.filename
        path = PurePosixPath(name)
        if stat.S_ISLNK(entry.external_attr >> 16) or "\\" in name or ":" in path.parts[0] or path.is_absolute():
            raise ValueError(f"the wheel of {wheel.name} contains {name!r}, which points outside the directory")
        # scripts and headers are only useful in an installation
        if not path.parts[0].endswith(".data"):
            yield entry, path
        elif len(path.parts) > 2 and path.parts[1] in ("purelib", "platlib"):
            yield entry, PurePosixPath(*path.parts[2:])
