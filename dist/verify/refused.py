"""Why an archive is read no further."""

from __future__ import annotations

AGAIN = "Get it again, from where it was published; if that does not help, tell those who have made it."


class Refused(Exception):
    """What is wrong, and what to do about it: the rest cannot or must not be read."""

    def __init__(self, message: str, remediation: str = AGAIN) -> None:
        super().__init__(message, remediation)
        self.message = message
        self.remediation = remediation
