"""Opens tar archives of every format, including those that this Python's tarfile does not support."""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import zstandard


@contextlib.contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open the archive for sequential reading."""
    if path.suffix != ".zst":
        with tarfile.open(path) as tar:
            yield tar
        return
    with (
        path.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as stream,
        tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as tar,
    ):
        yield tar
