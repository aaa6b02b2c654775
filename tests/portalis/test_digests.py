"""A digest covers all bytes, whatever the size of the blocks they are read in."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from portalis.digests import file_digest, sha256_hex


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_digest_covers_all_blocks(size: int, tmp_path: Path) -> None:
    data, path = os.urandom(size), tmp_path / "file"
    path.write_bytes(data)
    expected = hashlib.sha256(data).hexdigest()
    assert sha256_hex(data) == expected
    assert (file_digest(path).size_bytes, file_digest(path).sha256) == (size, expected)
