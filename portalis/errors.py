"""Errors that a user can act on: each says what failed, what to do, and which exit code the command ends with."""

from __future__ import annotations

from typing import ClassVar


class PortalisError(Exception):
    """Base of every error that portalis raises on purpose outside the runtime.

    `message` says what failed and where; `remediation` says what to do. The CLI prints both as a short block on
    stderr, never a traceback, and exits with `exit_code`.
    """

    exit_code: ClassVar[int] = 1
    pipeline_id: str | None = None
    """The id of the run that it belongs to, where that is known."""

    def __init__(self, message: str, *, remediation: str = "") -> None:
        super().__init__(message, remediation)
        self.message = message
        self.remediation = remediation

    def __str__(self) -> str:
        return f"{self.message}\n{self.remediation}" if self.remediation else self.message


class UsageError(PortalisError):
    """The command line, or a file that it names, cannot be what was meant."""

    exit_code = 2


class MissingPart(PortalisError):
    """A real part that portalis drives (tritonserver, a compiler …) is not on this machine."""


class TritonFailed(PortalisError):
    """tritonserver did not come up, or stopped by itself; the message carries the lines of its log that say why."""
