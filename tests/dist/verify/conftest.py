"""Archives of every format, created once."""

from __future__ import annotations

from pathlib import Path

import pytest

from portalis.dist import archive_target as target
from portalis.dist.archive.writer import ARCHIVE_ENDINGS
from portalis.spec.distribution import ArchiveFormat
from tests.dist.conftest import Package


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[ArchiveFormat, Path]:
    """An archive of each format, with its sidecar files."""
    paths = {}
    for packed in ArchiveFormat:
        package = Package(tmp_path_factory.mktemp("archives") / packed.value)
        package.with_everything()
        package.configure(archive_format=packed.value, checksum_algorithms=["SHA256", "SHA512", "Blake3"])
        job = package.job()
        target.run(job, target.generate(job))
        paths[packed] = package.staging / "archives" / f"demo-1.2.3{ARCHIVE_ENDINGS[packed]}"
    return paths
