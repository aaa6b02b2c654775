"""Orphans: processes whose parent, a worker, was killed. The first process of a container becomes their parent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable


def reap_orphans(own: Iterable[int]) -> None:
    """Remove ended child processes from the system's table, except those with the process ids `own`."""
    known = set(own)
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid in known:
                return
            os.waitpid(ended.si_pid, 0)
