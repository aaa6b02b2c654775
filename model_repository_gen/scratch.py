"""A copy of a model repository for servers that write beside the models: Python leaves its bytecode there, and a
backend of one's own may leave anything. What is packaged must stay as it was made."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

# these only read: the runtime that they share lies in the server's folder of backends
_READ_ONLY = frozenset({"wasm", "ensemble"})


@contextlib.contextmanager
def for_trial(repository: Path, platforms: Collection[str]) -> Iterator[Path]:
    """The folder that a server is to see: `repository` itself where none of its `platforms` writes, else a copy beside
    it, which is removed afterwards (by the next run where this one is killed: it lies in the staging folder)."""
    if _READ_ONLY.issuperset(platforms):
        yield repository
        return
    with tempfile.TemporaryDirectory(prefix=".tried-", dir=repository.parent) as folder:
        copy = Path(folder) / repository.name
        shutil.copytree(repository, copy)
        yield copy
