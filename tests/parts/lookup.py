"""How a test finds a real part: one look-up per process, and a skip or a failure when the part is missing.

With PORTALIS_REQUIRE_PARTS=1 (set by `.ci/run`) a missing part fails the test instead of skipping it.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ROOT / "build" / "parts"  # what `make parts` fetches
NPM = ROOT / "build" / "npm"  # what `make test` installs with npm
MISSING = "missing part: "  # what a skip or a failure begins with; the summary of a run looks for it

Part = TypeVar("Part")
# the test that runs now in this process; `tests/conftest.py` sets it
current: pytest.Item | None = None


class Missing(Exception):
    """A part is not here; the text says how to get it."""


def required() -> bool:
    """Whether a missing part fails a test."""
    return os.environ.get("PORTALIS_REQUIRE_PARTS", "") not in ("", "0")


def part(needs: str | None = None) -> Callable[[Callable[[], Part]], Callable[[], Part]]:
    """A decorator for a function that finds a part or raises `Missing`; it is called once per process.

    A test that calls the function of a part with `needs` must have the marker of that name, see `check_marker`.
    """

    def decorate(find: Callable[[], Part]) -> Callable[[], Part]:
        @functools.cache
        def look() -> Part | Missing:
            try:
                return find()
            except Missing as missing:
                return missing

        @functools.wraps(find)
        def wanted() -> Part:
            if needs:
                check_marker(needs, find.__name__)
            found = look()
            if isinstance(found, Missing):
                give_up(str(found))
            return found

        return wanted

    return decorate


def check_marker(needs: str, what: str) -> None:
    """Fail the running test unless it has the marker `needs`: `make check` selects tests by markers, and one without would
    start `what` there."""
    if current is not None and current.get_closest_marker(needs) is None:
        pytest.fail(f"this test uses {what}: mark it with @pytest.mark.{needs}", pytrace=False)


def give_up(reason: str) -> NoReturn:
    """Skip the test for want of a part; fail it where every part is required."""
    if required():
        pytest.fail(MISSING + reason, pytrace=False)
    pytest.skip(MISSING + reason)


def program(name: str) -> str:
    """The path of a program that Debian's package of the same name has."""
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name}: `make parts` (as root on Debian), or `apt-get install {name}`")
    return found
