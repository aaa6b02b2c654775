"""Writes an archive in the requested format or, if that cannot be compressed, in the next format that the spec
allows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...contracts.output import PackagingWarning, WarningSeverity
from ...output.file_group import FileGroup
from ...spec.distribution import ArchiveFormat, DistributionConfiguration
from ..archive_errors import archive_error
from .compressors import CompressionFailed
from .members import ArchivePlan
from .writer import ARCHIVE_ENDINGS, write_archive


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenArchive:
    """The archive that was written, and a message for each attempt that failed before."""

    name: str
    archive_format: ArchiveFormat
    level: int
    failures: tuple[str, ...]


def write_with_fallback(
    plan: ArchivePlan, config: DistributionConfiguration, files: FileGroup, report: Callable[[str], None]
) -> WrittenArchive:
    """Write the archive of `plan` into `files`. Raises StageError if all attempts fail to compress it, and OSError."""
    failures: list[str] = []
    for archive_format, level in _attempts(config):
        name = plan.top + ARCHIVE_ENDINGS[archive_format]
        try:
            # the last attempt uses one worker, which needs the least memory
            workers = 1 if level != config.compression_level else None
            attempt = dataclasses.replace(plan, level=level)
            write_archive(attempt, files.add(name), archive_format, report, workers=workers)
        except CompressionFailed as error:
            files.discard(name)
            failures.append(f"{name} cannot be compressed at level {level}: {error}")
            report(failures[-1])
        else:
            return WrittenArchive(name=name, archive_format=archive_format, level=level, failures=tuple(failures))
    raise archive_error(
        failures[-1],
        archive=plan.top + ARCHIVE_ENDINGS[config.archive_format],
        remediation="Provide more memory, or set distribution_config.archive_format to TarGz.",
        io_errors=failures,
    )


def _attempts(config: DistributionConfiguration) -> Iterator[tuple[ArchiveFormat, int]]:
    """The requested format, the fallback formats of the spec, then the requested format at level 1."""
    formats = (config.archive_format, *config.fallback_formats)
    attempts = [*((each, config.compression_level) for each in formats), (config.archive_format, 1)]
    yield from dict.fromkeys(attempts)


def fallback_warnings(archive: WrittenArchive) -> Iterator[PackagingWarning]:
    """Yield a warning for each failed attempt."""
    for failure in archive.failures:
        is_same = failure.startswith(f"{archive.name} ")
        outcome = f"created at level {archive.level} instead" if is_same else f"{archive.name} was created instead"
        yield PackagingWarning(
            message=f"{failure}; {outcome}",
            severity=WarningSeverity.Medium,
            remediation="Choose a distribution_config.compression_level and archive_format that need less memory.",
        )
