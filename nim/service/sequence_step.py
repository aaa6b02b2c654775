"""The place of a request in a sequence: the sequence's id, and whether the request starts or ends it."""

from __future__ import annotations

from typing import NamedTuple


class SequenceStep(NamedTuple):
    """A request of a sequence. Without a sequence, the id is 0 or empty."""

    id: int | str = 0
    """The correlation id. A number and its text are different ids."""
    start: bool = False
    end: bool = False


NO_SEQUENCE = SequenceStep()
"""The step of a request that belongs to no sequence."""
