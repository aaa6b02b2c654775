"""Reads a member while it is packed, and holds it to its digest: what was planned is what is written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from ..archive_errors import failed
from .members import Member


class Reading:
    """A file-like object over a member; use with ``with``. Raises StageError when it is not what was planned, OSError
    when it cannot be read. `advance` is told how many bytes were read."""

    def __init__(self, advance: Callable[[int], None], member: Member) -> None:
        self.member = member
        self._advance = advance
        self._left = member.size_bytes
        self._found = hashlib.sha256()
        content = member.content
        self._file: BinaryIO = BytesIO(content) if isinstance(content, bytes) else content.open("rb")

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if failure is None and (self._left or self._file.read(1) or self._found.hexdigest() != self.member.sha256):
                raise self._changed()

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, and never more than were planned: a format has the size in front of the bytes."""
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        if len(data) < wanted:
            raise self._changed()
        self._left -= len(data)
        self._found.update(data)
        self._advance(len(data))
        return data

    def _changed(self) -> Exception:
        where = self.member.content if isinstance(self.member.content, Path) else self.member.path
        return failed(f"{where} has changed while it was packed", remediation="Let nothing write to it, and try again.")


Read = Callable[[Member], Reading]
