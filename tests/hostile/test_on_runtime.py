"""Attacks on the runtime: each ends as an error of its own call, and the program serves the next one."""

from __future__ import annotations

import numpy as np
import pytest

from portalis.backend import Limits, Program, WasmError
from tests.backend import guests
from tests.backend.limits import in_time, not_late

from .attacks import ATTACKS, BAD, GOOD, Attack

pytestmark = pytest.mark.usefixtures("executor")


@pytest.fixture(scope="module")
def neighbour(executor: str) -> Program:
    """A harmless program in the same process."""
    return Program.load(guests.echo(dims=(1,), batch=8))


@pytest.mark.parametrize("isolation", ["request", "batch", "instance"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_an_error_of_its_own_call(attack: Attack, isolation: str, neighbour: Program) -> None:
    program = Program.load(attack.module, limits=Limits(**attack.patient_limits), isolation=isolation)
    for _ in range(2):
        with pytest.raises(attack.errors) as caught:
            program.run({"x": BAD}, timeout_s=attack.timeout_s / 4)
        attack.check_error(str(caught.value))
        attack.check_good(0, program.run({"x": GOOD})["y"].ravel().tolist())
    assert neighbour.run({"x": BAD})["y"].tolist() == [[1]]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_other_requests_of_the_batch_succeed(attack: Attack) -> None:
    program = Program.load(attack.module, limits=Limits(**attack.patient_limits))
    numbers = (2.0, 1.0, 3.0, 0.0)
    requests = [{"x": np.full((1, 1), number, np.float32)} for number in numbers]

    def check(limit_s: float) -> None:
        results = program.run_batch(requests, timeouts_s=[limit_s] * len(requests))
        for number, result in zip(numbers, results, strict=True):
            if number == 1:
                assert isinstance(result, attack.errors), result
            else:
                good = not_late(result)
                assert not isinstance(good, WasmError), good
                attack.check_good(number, good["y"].ravel().tolist())

    in_time(check, attack.timeout_s / 4)
