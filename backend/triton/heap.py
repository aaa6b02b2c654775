"""Tuning of glibc's heap in a process of Triton's Python backend.

The stub copies every input into its own memory. With glibc's defaults the end of the heap is returned to the operating
system after a request, so that a request of a few MiB causes a page fault for every 4 KiB, which takes longer than the
guest. A separate module: it needs neither wasmtime nor NumPy, and only the stub uses it.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
MAX_HEAP_ALLOCATION_BYTES = 32 << 20
"""Maximum size of an allocation from the heap, which is glibc's upper bound; larger ones are mapped."""
MAX_FREE_BYTES = 128 << 20
"""Maximum number of free bytes at the end of the heap; more are returned to the operating system."""


def keep_free_memory() -> bool:
    """Keep up to MAX_FREE_BYTES of free memory for the next request. Returns False if the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, MAX_HEAP_ALLOCATION_BYTES) and mallopt(_TRIM_THRESHOLD, MAX_FREE_BYTES))
