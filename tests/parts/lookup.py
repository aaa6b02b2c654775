"""Lookup of parts, once per process. A missing part skips the test.

With PORTALIS_REQUIRE_PARTS=1 (set by `.ci/run`) it fails the test instead.
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
PARTS = ROOT / "build" / "parts"  # where `make parts` installs
NPM = ROOT / "build" / "npm"  # where `make test` installs npm packages
MISSING = "missing part: "  # prefix of the message of a skip or failure; the summary of a run matches it

Part = TypeVar("Part")
# the test that is running in this process, set by `tests/conftest.py`
current: pytest.Item | None = None


class Missing(Exception):
    """A part is not installed. The message says how to install it."""


def required() -> bool:
    """Whether a missing part fails a test."""
    return os.environ.get("PORTALIS_REQUIRE_PARTS", "") not in ("", "0")


def part(needs: str | None = None) -> Callable[[Callable[[], Part]], Callable[[], Part]]:
    """Decorate a function that returns a part or raises `Missing`, so that it runs once per process.

    A test that uses a part with `needs` must have the marker of that name, see `check_marker`.
    """

    def decorate(find: Callable[[], Part]) -> Callable[[], Part]:
        @functools.cache
        def cached() -> Part | Missing:
            try:
                return find()
            except Missing as missing:
                return missing

        @functools.wraps(find)
        def find_or_skip() -> Part:
            if needs:
                check_marker(needs, find.__name__)
            result = cached()
            if isinstance(result, Missing):
                skip_or_fail(str(result))
            return result

        return find_or_skip

    return decorate


def check_marker(needs: str, what: str) -> None:
    """Fail the running test unless it has the marker `needs`.

    `make check` excludes tests by their markers. A test without the marker would start `what` there.
    """
    if current is not None and current.get_closest_marker(needs) is None:
        pytest.fail(f"this test uses {what}: mark it with @pytest.mark.{needs}", pytrace=False)


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test because of a missing part, or fail it if parts are required."""
    if required():
        pytest.fail(MISSING + reason, pytrace=False)
    pytest.skip(MISSING + reason)


def program(name: str) -> str:
    """The path of an executable that Debian has in a package of the same name."""
    path = shutil.which(name)
    if path is None:
        raise Missing(f"{name}: `make parts` (as root on Debian), or `apt-get install {name}`")
    return path
