"""Errors for users: each has a message, a remediation, and the exit code of the command."""

from __future__ import annotations

from typing import ClassVar


class PortalisError(Exception):
    """Base of all errors that portalis raises outside the runtime.

    `message` is what failed and where, and `remediation` is what to do. The CLI prints both on stderr, without a
    traceback, and exits with `exit_code`.
    """

    exit_code: ClassVar[int] = 1
    pipeline_id: str | None = None
    """The id of the run, if it is known."""

    def __init__(self, message: str, *, remediation: str = "") -> None:
        super().__init__(message, remediation)
        self.message = message
        self.remediation = remediation

    def __str__(self) -> str:
        return f"{self.message}\n{self.remediation}" if self.remediation else self.message


class UsageError(PortalisError):
    """The command line, or a file that it names, is invalid."""

    exit_code = 2


class MissingPart(PortalisError):
    """A program or library that portalis uses (tritonserver, a compiler …) is not installed."""


class TritonFailed(PortalisError):
    """tritonserver did not start, or ended on its own. The message has the relevant lines of its log."""
