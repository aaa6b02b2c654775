"""Every row of the table by the executor in Python and by the core."""

from __future__ import annotations

import pytest

from tests.backend.cases import in_process
from tests.backend.cases.case import expected
from tests.backend.cases.table import table


@pytest.mark.parametrize("name", table())
def test_both_executors_answer_as_the_table_says(name: str) -> None:
    case = table()[name]
    first = None
    for way in in_process.WAYS:
        found, lines = in_process.run(case, way)
        for number, (call, outcomes) in enumerate(zip(case.calls, found, strict=True)):
            wanted = [expected(answer, got) for answer, got in zip(call.answers, outcomes, strict=True)]
            assert outcomes == wanted, (way, number)
        assert lines == list(case.lines), way
        first = first or found
        assert found == first, way
