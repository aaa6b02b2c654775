"""The digest of a module is that of its bytes, and a file that is inspected is not held."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from portalis.inspection import inspect
from portalis.inspection.source import sha256
from tests.backend import guests


def test_a_digest_is_that_of_all_chunks() -> None:
    for size in (0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20):
        data = os.urandom(size)
        assert sha256(data) == hashlib.sha256(data).hexdigest()


def test_no_descriptor_and_no_mapping_is_left(tmp_path: Path) -> None:
    path = tmp_path / "module.wasm"
    path.write_bytes(guests.wasm(guests.ADD))
    found = inspect(path)
    assert found.features == ()
    opened_files = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile, as that of the folder itself is
            opened_files.append(str(link.readlink()))
    assert str(path) not in opened_files
    assert str(path) not in Path("/proc/self/maps").read_text()
