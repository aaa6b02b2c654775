"""The one kind of error of this target: an archive that could not be made."""

from __future__ import annotations

from collections.abc import Iterable

from ..contracts.errors import ArchiveCreationError, ErrorType
from ..target import StageError


def failed(
    message: str, *, remediation: str, archive: str = "", io_errors: Iterable[str] = (), steps: Iterable[str] = ()
) -> StageError:
    """The error to raise; `archive` is the name of the file that is not made."""
    details = ArchiveCreationError(failed_archives=(archive,) if archive else (), io_errors=tuple(io_errors))
    return StageError(ErrorType.ArchiveError, message, remediation=remediation, steps=steps, details=details)


def reason(error: OSError) -> str:
    """What the system says of a file, in one line."""
    said = error.strerror or str(error)
    return f"{error.filename}: {said}" if error.filename is not None else said
