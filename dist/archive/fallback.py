"""Writes an archive in the format that is wanted, or, where that cannot be compressed, in the next that is allowed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...contracts.output import PackagingWarning, WarningSeverity
from ...spec.distribution import ArchiveFormat, DistributionConfiguration
from ..archive_errors import failed
from ..placing import Files
from .compressors import CannotCompress
from .plan import Plan
from .writer import ENDINGS, write


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What was written in the end, and what was not, as sentences."""

    name: str
    packed: ArchiveFormat
    level: int
    failures: tuple[str, ...]


def write_one(plan: Plan, config: DistributionConfiguration, files: Files, say: Callable[[str], None]) -> Archive:
    """Write the archive of `plan` into `files`. Raises StageError where nothing could be compressed, and OSError."""
    failures: list[str] = []
    for packed, level in _attempts(config):
        name = plan.top + ENDINGS[packed]
        try:
            # with one worker the last attempt needs the least
            workers = 1 if level != config.compression_level else None
            write(dataclasses.replace(plan, level=level), files.add(name), packed, say, workers=workers)
        except CannotCompress as error:
            files.discard(name)
            failures.append(f"{name} cannot be compressed at level {level}: {error}")
            say(failures[-1])
        else:
            return Archive(name=name, packed=packed, level=level, failures=tuple(failures))
    raise failed(
        failures[-1],
        archive=plan.top + ENDINGS[config.archive_format],
        remediation="Give it more memory, or set distribution_config.archive_format to TarGz.",
        io_errors=failures,
    )


def _attempts(config: DistributionConfiguration) -> Iterator[tuple[ArchiveFormat, int]]:
    """The format that is wanted, those that the spec allows instead, and last the lightest level of the first."""
    formats = (config.archive_format, *config.fallback_formats)
    wanted = [*((packed, config.compression_level) for packed in formats), (config.archive_format, 1)]
    yield from dict.fromkeys(wanted)


def warnings(archive: Archive) -> Iterator[PackagingWarning]:
    """What the report says of the attempts that failed."""
    for failure in archive.failures:
        same = failure.startswith(f"{archive.name} ")
        instead = f"it was made at level {archive.level}" if same else f"{archive.name} was made instead"
        yield PackagingWarning(
            message=f"{failure}; {instead}",
            severity=WarningSeverity.Medium,
            remediation="Set distribution_config.compression_level and archive_format to what this machine can do.",
        )
