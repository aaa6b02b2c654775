"""The base of what portalis writes for machines: immutable, all keys known, paths absolute."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..documented import Documented

U32 = Annotated[int, Field(ge=0, le=2**32 - 1)]
U64 = Annotated[int, Field(ge=0, le=2**64 - 1)]
AbsolutePath = Annotated[str, Field(pattern=r"^/")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
DateTime = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="UTC, ISO 8601")]
Seconds = Annotated[float, Field(ge=0, description="seconds")]


class Record(Documented):
    """One structure of a contract."""
