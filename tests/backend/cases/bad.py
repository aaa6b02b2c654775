"""Rows with faults: each possible pair of fault, convention, data type, batching and isolation.

A failing request does not affect requests before it, after it or in its batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from tests.backend.cases import good, guest_faults, output_faults, pairwise, request_faults, room_faults
from tests.backend.cases.case import Call, Case
from tests.backend.cases.fault import EVERY, Fault, Made
from tests.backend.cases.good import MAX_BATCH
from tests.backend.cases.pairwise import Row


@cache
def kinds() -> dict[str, Fault]:
    """All kinds of faults, by name."""
    rooms = (guest_faults, request_faults, output_faults, room_faults)
    return {fault.name: fault for room in rooms for fault in room.faults()}


FACTORS = {
    "fault": tuple(kinds()),
    "convention": good.FACTORS["convention"],
    "dtype": EVERY,
    "batching": ("none", "one", "joined"),
    "isolation": good.FACTORS["isolation"],
}


def valid(row: Row) -> bool:
    """Whether there can be such a row."""
    return kinds()[row["fault"]].fits(row["convention"], row["dtype"])


def cases() -> Iterator[Case]:
    """All rows."""
    for row in pairwise.rows(FACTORS, valid):
        batch = 0 if row["batching"] == "none" else MAX_BATCH
        made = kinds()[row["fault"]].make(row["convention"], row["dtype"], batch, row["isolation"])
        name = "-".join(row.values()).replace(" ", "_").replace(",", "")
        calls, times = _calls(row, made)
        yield Case(
            name, made.module, calls, row["isolation"], made.limits, made.dims, lines=made.lines * times, factors=row
        )


def _calls(row: Row, made: Made) -> tuple[tuple[Call, ...], int]:
    """The calls, and how often the bad request comes to the guest."""
    bad = (made.bad, made.failure)
    if made.good is None or made.answer is None:
        return tuple(Call((request,), (failure,)) for request, failure in (bad, bad)), 2
    good = (made.good, made.answer)
    if row["batching"] != "joined":
        return tuple(Call((request,), (answer,)) for request, answer in (good, bad, good)), 1
    three = (good, bad, good)
    together = Call(tuple(request for request, _ in three), tuple(answer for _, answer in three))
    # together with the others, then alone
    times = 2 if made.joins and row["isolation"] != "request" else 1
    alone = Call((made.good,), (made.answer,))
    # what does not fit together runs in an order that is Triton's own: its instance has served before
    return (together, alone) if made.joins else (alone, together, alone), times
