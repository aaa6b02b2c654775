"""The table has each pair of levels that can occur, no row twice, and rows that can fail."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import ModuleType

import pytest

from portalis.backend.errors import GuestError, Trap
from tests.backend.cases import bad, good, in_process, pairwise, state
from tests.backend.cases.case import FRAMES, Failure, differences, expected
from tests.backend.cases.pairwise import Row
from tests.backend.cases.table import PARTS, part, table


def test_no_two_rows_have_one_name() -> None:
    names = Counter(case.name for name in PARTS for case in part(name))
    assert [name for name, times in names.items() if times > 1] == []
    assert names.keys() == table().keys()


@pytest.mark.parametrize(("name", "rows"), [("good", good), ("bad", bad), ("state", state)])
def test_each_pair_that_can_occur_does(name: str, rows: ModuleType) -> None:
    wanted = {pair for row in pairwise.possible(rows.FACTORS, rows.valid) for pair in pairwise.pairs(row)}
    found = {pair for case in part(name) for pair in pairwise.pairs(dict(case.factors))}
    assert found == wanted
    levels = {(factor, level) for factor, all_levels in rows.FACTORS.items() for level in all_levels}
    assert {each for pair in found for each in pair} == levels


def test_rows_without_a_pair_are_not_chosen() -> None:
    def valid(row: Row) -> bool:
        return row != {"a": "1", "b": "1", "c": "1"} and (row["a"], row["b"]) != ("2", "2")

    chosen = pairwise.rows({"a": "12", "b": "12", "c": "12"}, valid)
    assert all(valid(row) for row in chosen)
    assert len(chosen) < 6
    assert chosen == pairwise.rows({"a": "12", "b": "12", "c": "12"}, valid)


def test_a_row_with_a_wrong_answer_is_reported() -> None:
    case = next(case for case in part("good") if case.name.startswith("elementwise-INT32"))
    outcomes, _ = in_process.run(case, "python")
    assert list(differences(case, outcomes)) == []
    call = case.calls[0]
    for wrong in ({"y": call.requests[0]["x"]}, {}, Failure(GuestError, "it failed")):
        calls = (replace(call, answers=(wrong,)), *case.calls[1:])
        assert len(list(differences(replace(case, calls=calls), outcomes))) == 1


def test_of_a_backtrace_only_the_place_is_open() -> None:
    text = f"the guest trapped: unreachable{FRAMES}\nthe guest's message: no"
    got = (
        "the guest trapped: unreachable\nwasm backtrace:\n    0:   0x12 - f\n    1:   0x13 - g\nthe guest's message: no"
    )
    assert expected(Failure(Trap, text), ("Trap", got)) == ("Trap", got)
    assert expected(Failure(Trap, text), ("Trap", got + "!")) != ("Trap", got + "!")
    assert expected(Failure(Trap, text.replace(FRAMES, "")), ("Trap", got)) != ("Trap", got)
