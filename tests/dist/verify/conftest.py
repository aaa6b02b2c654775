"""Archives of every format, created once."""

from __future__ import annotations

from pathlib import Path

import pytest

from portalis.dist import archive_target as target
from portalis.dist.archive.writer import ARCHIVE_ENDINGS
from portalis.spec.distribution import ArchiveFormat
from tests.dist.conftest import Package


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[ArchiveFormat, Path]:
    """An archive of each format, with its sidecar files."""
    made = {}
    for packed in ArchiveFormat:
        package = Package(tmp_path_factory.mktemp("shipped") / packed.value)
        package.with_everything()
        package.configure(archive_format=packed.value, checksum_algorithms=["SHA256", "SHA512", "Blake3"])
        job = package.job()
        target.run(job, target.generate(job))
        made[packed] = package.staging / "archives" / f"demo-1.2.3{ARCHIVE_ENDINGS[packed]}"
    return made
