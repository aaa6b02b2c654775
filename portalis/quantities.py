"""Amounts of memory and CPU, as a spec writes them, in the units that engines and deployment files want."""

from __future__ import annotations

import math
import re
from decimal import Decimal

# the suffixes of Kubernetes; Docker reads "2G" as 2 GiB, and so is given bytes
_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_MEMORY = re.compile(r"(\d+)([A-Za-z]*)")


def memory_bytes(amount: str) -> int:
    """The bytes of such as ``2Gi``."""
    found = _MEMORY.fullmatch(amount)
    assert found is not None, "the spec checks it"
    return int(found[1]) * _FACTORS[found[2]]


def cpu_millis(amount: str) -> int:
    """The thousandths of a CPU of such as ``2``, ``0.5`` or ``500m``, rounded up: Kubernetes takes nothing finer."""
    if amount.endswith("m"):
        return int(amount[:-1])
    return max(1, math.ceil(Decimal(amount) * 1000))
