"""The heap of a process that answers large requests for Triton."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

ROUNDS = 50
PAGES = 4 << 20 >> 12  # of the arrays of a round
SCRIPT = f"""
import resource, sys
import numpy as np
from backend.triton import heap

if sys.argv[1] == "kept":
    assert heap.keep_free_memory()
for round in range({ROUNDS} + 5):
    if round == 5:
        began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(1 << 20, np.uint8) for _ in range(4)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - began)
"""


def faults(kept: str) -> int:
    """The page faults of some rounds of large arrays."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, kept], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has another heap")
def test_memory_of_a_large_request_is_kept_for_the_next() -> None:
    assert faults("kept") < ROUNDS * PAGES / 10
    assert faults("not kept") > ROUNDS * PAGES / 2  # else there is no reason for it
