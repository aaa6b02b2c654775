"""glibc's heap in a process of Triton's Python backend.

The stub copies every input into memory of its own. With glibc's defaults the end of the heap goes back to the system
when a request is over, so that a request of a few MiB takes a page fault for every 4 KiB: more time than the guest.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
MAX_HEAP_ALLOCATION_BYTES = (
    32 << 20
)  # bytes of an allocation from the heap, which is the most that glibc takes; larger ones are mapped
MAX_FREE_BYTES = 128 << 20  # free bytes at the end of the heap before they go back to the system


def keep_free_memory() -> bool:
    """Keep free memory for the next request, up to `KEPT` bytes. Returns false where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, MAX_HEAP_ALLOCATION_BYTES) and mallopt(_TRIM_THRESHOLD, MAX_FREE_BYTES))
