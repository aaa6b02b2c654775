"""An exported image archive is checked before it counts."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from portalis.engines.errors import EngineFailed
from portalis.engines.image import check_archive


def test_a_truncated_archive_is_rejected(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.tar", tmp_path / "cut.tar"
    (tmp_path / "layer").write_bytes(b"x" * 5000)
    (tmp_path / "manifest.json").write_text('[{"Config": "abc.json", "Layers": ["layer"], "RepoTags": []}]')
    (tmp_path / "abc.json").write_text("{}")
    with tarfile.open(whole, "w") as archive:
        for name in ("manifest.json", "layer", "abc.json"):
            archive.add(tmp_path / name, name)
    check_archive(whole, "sha256:abc")
    with pytest.raises(EngineFailed, match="it is not an archive of this image"):
        check_archive(whole, "sha256:def")
    cut.write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(EngineFailed, match="cannot be loaded: "):
        check_archive(cut, "sha256:abc")
