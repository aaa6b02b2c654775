"""Tests that must be alone: while one runs, no other worker runs any test.

`@pytest.mark.alone("why")` takes the turn of all; every other test takes a shared one. A test that waits to be alone keeps
the others from starting, so that it does not wait for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator

from tests.running import session


@contextlib.contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Held while one test runs, its fixtures included."""
    with (session.folder() / "room").open("w") as room:
        with session.lock("gate"):
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
