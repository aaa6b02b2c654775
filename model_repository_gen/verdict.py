"""What trying a model on a real server found, with its remedy."""

from __future__ import annotations

from pydantic import Field

from ..contracts.output import ValidationResult


class Verdict(ValidationResult):
    """A `ValidationResult` and what to do about it: that depends on what the model was sent and on what failed.

    The remedy goes into the error that is made of it, so the list of results does not repeat it."""

    remediation: str = Field(default="", exclude=True)
