"""Interfaces and requests at random: what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from portalis.backend.interface.dtypes import DTYPES
from tests.backend.cases.case import Tensors
from tests.backend.guests import tensor

NUMBERS = tuple(name for name in DTYPES if name != "BYTES")
SIZES = st.sampled_from((0, 1, 1, 2, 3))
ISOLATIONS = st.sampled_from(("request", "batch", "instance"))


@dataclass(frozen=True)
class Drawn:
    """A module, requests that arrive together, and their answers by NumPy."""

    module: bytes
    isolation: str
    requests: tuple[Tensors, ...]
    answers: tuple[Tensors, ...]
    chunk_bytes: int


@st.composite
def shapes(draw: st.DrawFn, count: int, cores: Sequence[tuple[int, ...]], rows: int | None) -> list[tuple[int, ...]]:
    """Shapes of `count` inputs that broadcast, each with its core dimensions; with `rows` that is axis 0 of all."""
    most = 8 - max(map(len, cores)) - (rows is not None)
    loops = draw(st.lists(SIZES, max_size=min(most, 4)))
    found = []
    for core in cores[:count]:
        own = loops[draw(st.integers(0, len(loops))) :] if rows is None else loops
        own = [size if draw(st.booleans()) else 1 for size in own]
        found.append(((rows,) if rows is not None else ()) + tuple(own) + core)
    return found


def rows_of(batch: int) -> st.SearchStrategy[list[int | None]]:
    """The rows of each request, None without a batch dimension."""
    rows: st.SearchStrategy[int | None] = st.sampled_from((1, 2, 1)) if batch else st.none()
    return st.lists(rows, min_size=1, max_size=3 if batch else 1)


def described(
    entry: str,
    convention: str,
    batch: int,
    inputs: dict[str, str],
    outputs: dict[str, str],
    dims: Sequence[tuple[int, ...]],
    **more: Any,
) -> dict[str, Any]:
    sides = [tensor(n, d, dim) for (n, d), dim in zip((*inputs.items(), *outputs.items()), dims, strict=False)]
    specs = {"inputs": sides[: len(inputs)], "outputs": sides[len(inputs) :]}
    return {"entry": entry, "convention": convention, "max_batch_size": batch, **specs, **more}
