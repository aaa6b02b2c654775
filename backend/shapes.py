"""The rule for tensor shapes from outside: a client's or a guest's sizes are checked before they reach NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .facts import MAX_RANK

MAX_ELEMENTS = 1 << 60  # eight bytes each still fit into 63 bits


def shape_problem(shape: Sequence[int], max_rank: int = MAX_RANK) -> str | None:
    """What rules out `shape`, as the end of a sentence that begins with the tensor; None where NumPy can have it."""
    if len(shape) > max_rank:
        return f"has rank {len(shape)}; at most {max_rank} is allowed"
    if shape and min(shape) < 0:
        return f"has shape {list(shape)}; a size is at least 0"
    # A size of 0 means no elements, yet NumPy multiplies the other sizes all the same.
    if math.prod(size or 1 for size in shape) >= MAX_ELEMENTS:
        return f"has shape {list(shape)}, which is too large"
    return None
