"""Runs rows in this process, by the executor in Python or by the core."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from portalis.backend.executor import executor_factory as loaded
from portalis.backend.limits import Limits
from portalis.backend.program import Program
from portalis.backend.setting_names import TRITON_NAMES
from tests import parts
from tests.backend.cases.case import Case, Failure, Outcome, late, outcome
from tests.running import waiting

Run = tuple[list[list[Outcome]], list[tuple[str, str]]]
WAYS = ("python", "python lending", "core", "core lending")
"""Which executor, and whether its outputs are views of the guest's memory that are valid until the next call."""


def ways(case: Case) -> tuple[str, ...]:
    """The ways to run a row: nothing is borrowed if the guest fails, or if the test waits for it."""
    fails = any(isinstance(answer, Failure) for call in case.calls for answer in call.answers)
    return WAYS[::2] if fails else WAYS


def run(case: Case, way: str) -> Run:
    """The outcomes of each call, and the lines that the guest wrote. A row with a short time limit is run again while a
    request that is to go well is late, as on a busy machine."""

    def in_time() -> Run | None:
        found = _run(case, way)
        return None if "timeout_s" in case.limits and late(case, found[0], "GuestTimeout") else found

    found = waiting.until(in_time)
    assert found is not None
    return found


def _run(case: Case, way: str) -> Run:
    lines: list[tuple[str, str]] = []
    with _executor(way.split(maxsplit=1)[0]):
        program = Program.load(
            case.module,
            limits=Limits(**case.limits),
            isolation=case.isolation,
            trusted=True,
            on_output=lambda stream, line: lines.append((stream, line)),
            setting_names=TRITON_NAMES,  # the words of Triton, so that all say the same
        )
    with program:
        found = []
        for call in case.calls:
            results = program.run_batch(call.requests, borrow=way.endswith("lending"))
            found.append([outcome(result) for result in results])
    return found, lines


@contextlib.contextmanager
def _executor(name: str) -> Iterator[None]:
    """Programs that are loaded now are run by the executor `name`."""
    with pytest.MonkeyPatch.context() as patch:
        core = loaded.native_core()
        if core is None and not parts.required():
            pytest.skip("the executor core is not built for this machine: .ci/native")
        assert core is not None, "the executor core is not built for this machine: .ci/native"
        patch.setattr(loaded, "native_core", lambda: core if name == "core" else None)
        yield
