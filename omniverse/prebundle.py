"""``pip_prebundle/``: NumPy and Wasmtime unpacked, so that the extension runs in a Kit whose Python has neither.

They are whole, tests and licences included (about 85 MB, 26 MB of them in the archive): a NumPy with parts taken out
would be one for all of Kit, and whoever asks it for those parts would not know why they are gone.
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

FOLDER: Final = PurePosixPath("pip_prebundle")
MAX_BYTES = 1 << 30  # unpacked; a wheel of more is no wheel of ours


def bundled_files(job: Job) -> tuple[OutputTree, list[PackagingWarning]]:
    """The files, relative to the extension. Without the wheels there are none, and a warning says what to do."""
    config = job.spec.omniverse_config
    if not config.prebundle:
        return OutputTree(), []
    try:
        found = get_wheels(kit_python(config.required_kit_version), config.wheelhouse, job.report)
    except NoWheels as problem:
        message = f"the Omniverse extension is without NumPy and Wasmtime: {problem}"
        return OutputTree(), [
            PackagingWarning(message=message, severity=WarningSeverity.High, remediation=problem.remediation)
        ]
    return unpack_wheels(found), []


def unpack_wheels(found: Iterable[BundledWheel]) -> OutputTree:
    """The files of the wheels. Raises ValueError for a wheel with a name in it that leads elsewhere."""
    tree = OutputTree()
    for wheel in found:
        with zipfile.ZipFile(io.BytesIO(wheel.data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise ValueError(f"the wheel of {wheel.name} unpacks to more than {MAX_BYTES:,} bytes")
            for entry, path in _placed(wheel, entries):
                tree.add(FOLDER / path, archive.read(entry))
    return tree


def _placed(wheel: BundledWheel, entries: Iterable[zipfile.ZipInfo]) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    for entry in entries:
        name = entry.filename
        path = PurePosixPath(name)
        if stat.S_ISLNK(entry.external_attr >> 16) or "\\" in name or ":" in path.parts[0] or path.is_absolute():
            raise ValueError(f"the wheel of {wheel.name} has {name!r} in it, which leads elsewhere")
        # scripts and headers are for an installation, which this is not
        if not path.parts[0].endswith(".data"):
            yield entry, path
        elif len(path.parts) > 2 and path.parts[1] in ("purelib", "platlib"):
            yield entry, PurePosixPath(*path.parts[2:])
