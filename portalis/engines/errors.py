"""Errors of container engines."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import MissingPart, PortalisError

ERROR_LOG_LINES = 15
"""Number of lines of a log, counted from its end, that an error message repeats."""


class EngineUnavailable(MissingPart):
    """No container engine can be reached."""


class EngineFailed(PortalisError):
    """A container engine reported an error. `log` contains every line that the build or container wrote before."""

    def __init__(self, message: str, *, remediation: str, log: Sequence[str] = ()) -> None:
        self.log = tuple(log)
        tail = "".join(f"\n  {line}" for line in self.log[-ERROR_LOG_LINES:])
        super().__init__(message + tail, remediation=remediation)


class BuildTimedOut(EngineFailed):
    """A build exceeded its time limit and was aborted."""
