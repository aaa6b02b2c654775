"""The error of the archive target: ArchiveError, raised if an archive cannot be created.

A separate module because the packages `archive` and `attest` and the module `packing` all raise it.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..contracts.errors import ArchiveCreationError, ErrorType
from ..target import StageError


def archive_error(message: str, *, remediation: str, archive: str = "", io_errors: Iterable[str] = ()) -> StageError:
    """Create the error to raise; `archive` is the file name of the archive that was not created."""
    details = ArchiveCreationError(failed_archives=(archive,) if archive else (), io_errors=tuple(io_errors))
    return StageError(ErrorType.ArchiveError, message, remediation=remediation, details=details)


def os_error_text(error: OSError) -> str:
    """Format an OSError as a single line: the path, if known, and the reason."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename is not None else reason
