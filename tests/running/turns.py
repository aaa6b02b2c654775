"""Exclusive tests: while one runs, no other worker runs a test.

`@pytest.mark.alone("why")` requires an exclusive lock; every other test requires a shared one. While a test waits for the
exclusive lock, no further test starts, so that it does not wait indefinitely.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator

from tests.running import session


@contextlib.contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """The lock of one test, held while the test and its fixtures run; exclusive if `alone`."""
    with (session.folder() / "turn").open("w") as file:
        with session.lock("gate"):
            fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
