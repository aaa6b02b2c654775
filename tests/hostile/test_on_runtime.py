"""The attacks on the runtime: each ends as an error of its own call, and the program answers the next one."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from portalis.backend import Limits, Program, WasmError
from tests.backend import guests

from .attacks import ATTACKS, BAD, GOOD, MAX_MESSAGE_BYTES, Attack


@pytest.fixture(scope="module")
def neighbour() -> Program:
    """A harmless program in the same process."""
    return Program.load(guests.echo(dims=(1,), batch=8))


def check_message(text: str) -> None:
    """A message is short, and has nothing that a terminal or a log would obey."""
    assert 0 < len(text.encode()) <= MAX_MESSAGE_BYTES
    controls = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}
    assert not controls


@pytest.mark.parametrize("isolation", ["request", "batch", "instance"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_an_error_of_its_own_call(attack: Attack, isolation: str, neighbour: Program) -> None:
    program = Program.load(attack.module, limits=Limits(**attack.all_limits), isolation=isolation)
    for _ in range(2):
        with pytest.raises(attack.errors) as caught:
            program.run({"x": BAD})
        check_message(str(caught.value))
        answer = program.run({"x": GOOD})["y"]
        assert not attack.echoes or answer.tolist() == [[0]]
    assert neighbour.run({"x": BAD})["y"].tolist() == [[1]]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_the_others_of_its_batch_are_answered(attack: Attack) -> None:
    program = Program.load(attack.module, limits=Limits(**attack.all_limits))
    rows = [np.full((1, 1), value, np.float32) for value in (2, 1, 3, 0)]
    answers = program.run_batch([{"x": each} for each in rows])
    assert isinstance(answers[1], attack.errors)
    for given, answer in zip(rows, answers, strict=True):
        if given is not rows[1]:
            assert not isinstance(answer, WasmError), answer
            assert not attack.echoes or answer["y"].tolist() == given.tolist()
