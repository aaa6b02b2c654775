"""Checksums, verified with sha256sum, sha512sum and b3sum."""

from __future__ import annotations

import ast
import hashlib
import shutil
import subprocess
from pathlib import Path

import blake3
import pytest

from portalis.dist.archive.checksums import checksum_file_texts, file_checksums
from portalis.spec.distribution import ChecksumAlgorithm
from tests.parts import ROOT

DATA = b"some data\n" * 300_000
ALL = list(ChecksumAlgorithm)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "a demo-1.0.0.tar.gz"
    path.write_bytes(DATA)
    for name, text in checksum_file_texts(path.name, file_checksums(path, ALL)).items():
        (tmp_path / name).write_text(text)
    return path


def test_every_algorithm_gives_its_digest_in_hex(archive: Path) -> None:
    assert file_checksums(archive, ALL) == {
        ChecksumAlgorithm.SHA256: hashlib.sha256(DATA).hexdigest(),
        ChecksumAlgorithm.SHA512: hashlib.sha512(DATA).hexdigest(),
        ChecksumAlgorithm.Blake3: blake3.blake3(DATA).hexdigest(),
    }


def test_blake3_of_an_empty_file_is_that_of_the_specification(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (found,) = file_checksums(tmp_path / "empty", [ChecksumAlgorithm.Blake3]).values()
    assert found == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_sha256sum_and_sha512sum_detect_a_change(archive: Path, algorithm: str) -> None:
    command = [f"{algorithm}sum", "--check", "--strict", f"{archive.name}.{algorithm}"]
    assert subprocess.run(command, cwd=archive.parent, capture_output=True).returncode == 0
    archive.write_bytes(DATA + b"!")
    assert subprocess.run(command, cwd=archive.parent, capture_output=True).returncode == 1


def test_the_file_for_b3sum_has_the_same_format(archive: Path) -> None:
    text = (archive.parent / f"{archive.name}.b3").read_text()
    assert text == f"{blake3.blake3(DATA).hexdigest()}  {archive.name}\n"
    if shutil.which("b3sum") is not None:
        assert subprocess.run(["b3sum", "--check", f"{archive.name}.b3"], cwd=archive.parent).returncode == 0


def test_only_one_module_imports_blake3() -> None:
    def imported(path: Path) -> set[str]:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        return {*names, *(node.module or "" for node in nodes if isinstance(node, ast.ImportFrom))}

    sources = [path for folder in ("dist", "portalis") for path in (ROOT / folder).rglob("*.py")]
    assert [path.name for path in sources if "blake3" in imported(path)] == ["checksums.py"]
