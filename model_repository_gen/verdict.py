"""What trying a model on a real server found, with the remedy: it depends on what the model was sent, and on what failed."""

from __future__ import annotations

from pydantic import Field

from portalis.contracts.output import ValidationResult


class Verdict(ValidationResult):
    """A `ValidationResult` that also knows what to do about itself. The remedy belongs to the error that is made of it,
    so the report of the run does not repeat it."""

    remediation: str = Field(default="", exclude=True)
