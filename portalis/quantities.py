"""Amounts of memory and CPU as a spec writes them, their conversion to numbers, and file sizes as text."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, JsonValue, WithJsonSchema
from rich.filesize import pick_unit_and_suffix

# the suffixes of Kubernetes; Docker reads "2G" as 2 GiB, so engines are passed bytes
_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SIZE_UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"]
_MEMORY = re.compile(r"[1-9][0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)?")
_CPU = re.compile(r"[1-9][0-9]*m?|[1-9][0-9]*\.[0-9]+|0\.[0-9]*[1-9][0-9]*")


def _amount(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise ValueError(f"expected {what}, got {text!r}")
        return text

    return AfterValidator(check)


def whole_match(pattern: re.Pattern[str]) -> dict[str, JsonValue]:
    """`pattern` for a JSON Schema, whose patterns match anywhere in a string without anchors."""
    return {"type": "string", "pattern": f"^(?:{pattern.pattern})$"}


Memory = Annotated[
    str, _amount(_MEMORY, "an amount of memory such as 512Mi or 2Gi"), WithJsonSchema(whole_match(_MEMORY))
]
Cpu = Annotated[str, _amount(_CPU, "an amount of CPU such as 500m or 2"), WithJsonSchema(whole_match(_CPU))]


def memory_bytes(amount: str) -> int:
    """The number of bytes of an amount of memory, for example ``2Gi``."""
    suffix = amount.lstrip("0123456789")
    return int(amount.removesuffix(suffix)) * _FACTORS[suffix]


def cpu_millis(amount: str) -> int:
    """An amount of CPU (``2``, ``0.5`` or ``500m``) in thousandths of a CPU, rounded up.

    Kubernetes accepts no smaller unit.
    """
    if amount.endswith("m"):
        return int(amount[:-1])
    return max(1, math.ceil(Decimal(amount) * 1000))


def file_size(count: int) -> str:
    """`count` bytes in the largest unit that fits, as text, for example ``1.5 MiB``."""
    unit, suffix = pick_unit_and_suffix(count, _SIZE_UNITS, 1024)
    return f"{count} bytes" if unit == 1 else f"{count / unit:.1f} {suffix}"
