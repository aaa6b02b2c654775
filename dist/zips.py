"""The ZIP format."""

from __future__ import annotations

import shutil
import stat
import time
import zipfile
from pathlib import PurePosixPath
from typing import BinaryIO

from .plan import Plan
from .reading import Read

CHUNK = 1 << 20
# a ZIP's times have no zone and steps of two seconds, and go from 1980 to 2107
_FIRST, _LAST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)
_UNIX = 3


def write_zip(target: BinaryIO, plan: Plan, read: Read) -> None:
    """``.zip``: deflated at the plan's level, or stored at level 0. Files of 4 GiB and more become ZIP64."""
    with zipfile.ZipFile(target, "w") as archive:
        for folder in plan.folders:
            info = _header(f"{folder}/", plan, stat.S_IFDIR | 0o755)
            info.external_attr |= 0x10  # MS-DOS's mark of a directory
            archive.writestr(info, b"")
        for member in plan.members:
            mode = stat.S_IFREG | (0o755 if member.executable else 0o644)
            info = _header(str(PurePosixPath(plan.top, member.path)), plan, mode)
            info.compress_type = zipfile.ZIP_DEFLATED if plan.level else zipfile.ZIP_STORED
            info._compresslevel = plan.level or None  # type: ignore[attr-defined]
            info.file_size = member.size_bytes  # by this it knows whether to write ZIP64
            with read(member) as file, archive.open(info, "w") as packed:
                shutil.copyfileobj(file, packed, CHUNK)


def _header(name: str, plan: Plan, mode: int) -> zipfile.ZipInfo:
    moment = time.gmtime(plan.epoch)[:6]
    info = zipfile.ZipInfo(name, min(max(moment, _FIRST), _LAST))
    info.create_system = _UNIX
    info.external_attr = mode << 16
    return info
