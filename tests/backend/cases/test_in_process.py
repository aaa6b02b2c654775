"""Every row of the table by the executor in Python and by the core."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backend import guests
from tests.backend.cases import in_process
from tests.backend.cases.case import Call, Case, differences
from tests.backend.cases.table import PARTS, part

GOOD = {"x": np.ones(3, np.float32)}
BYSTANDER = Case("bystander", guests.echo(), (Call((GOOD,), ({"y": GOOD["x"]},)),))


@pytest.mark.parametrize("name", PARTS)
def test_both_executors_answer_as_in_the_table(name: str) -> None:
    wrong = []
    for case in part(name):
        ways = in_process.ways(case)
        runs = [in_process.run(case, way) for way in ways]
        for way, (outcomes, lines) in zip(ways, runs):
            wrong += [f"{case.name} by {way}: {message}" for message in differences(case, outcomes)]
            wrong += [f"{case.name} by {way}: wrote {lines}"] if lines != list(case.lines) else []
        if any(outcomes != runs[0][0] for outcomes, _ in runs):
            wrong.append(f"{case.name}: not all executors say the same: {runs}")
        assert not list(differences(BYSTANDER, in_process.run(BYSTANDER, "core")[0])), f"after {case.name}"
    assert not wrong, "\n".join(wrong[:20])
