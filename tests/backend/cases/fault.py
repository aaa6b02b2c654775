"""Kinds of faults, each with a module, a request that succeeds, and one that fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portalis.backend.errors import GuestError, Trap, WasmError
from tests.backend.cases import harm
from tests.backend.cases.case import Failure, Tensors
from tests.backend.cases.harm import ENTRIES

NUMBERS: tuple[str, ...] = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
NUMBERS += ("FP16", "FP32", "FP64", "BF16")
EVERY = (*NUMBERS, "BYTES")
CALLED = ("elementwise", "gufunc", "dlpack", "command")


@dataclass(frozen=True)
class Made:
    """`joins`: the bad request has the shapes of the good one, so that one guest call has both. `lines` are what the
    guest writes in each call with the bad request. Without a `good` request all fail."""

    module: bytes
    bad: Tensors
    failure: Failure
    good: Tensors | None
    answer: Tensors | None
    joins: bool = True
    lines: tuple[tuple[str, str], ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    dims: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """A kind of fault, and in which conventions and data types there can be it. `make` gets the convention, the data
    type, the largest batch and the isolation."""

    name: str
    make: Callable[[str, str, int, str], Made]
    conventions: tuple[str, ...] = CALLED
    dtypes: tuple[str, ...] = ("INT64", "FP16", "BYTES")

    def fits(self, convention: str, dtype: str) -> bool:
        """Whether there can be such a row."""
        fits = dtype == "BYTES" if convention == "command" else dtype != "BYTES" or convention == "dlpack"
        return fits and convention in self.conventions and dtype in self.dtypes


def of_entry(convention: str, text: str) -> str:
    """An error of the guest names the entry."""
    return f"entry '{ENTRIES[convention]}': {text}"


def request(convention: str, dtype: str, batch: int, *, bad: bool) -> dict[str, np.ndarray]:
    """A request whose elements ask for harm, or do not."""
    if convention == "command":
        return {"stdin": harm.tensor_of("BYTES", (1, 1) if batch else (1,), bad=bad)}
    return {"x": harm.tensor_of(dtype, (1, 2) if batch else (2,), bad=bad)}


def answer(convention: str, sent: Tensors) -> Tensors:
    """The result of a good request."""
    return {"stdout": sent["stdin"]} if convention == "command" else {"y": sent["x"]}


@dataclass(frozen=True)
class Harm:
    """A guest that runs `code` on request.

    `said` is the message of its `portalis_error`, `output` the description of y by a dlpack guest.
    """

    code: str
    text: str
    kind: type[WasmError] = Trap
    more: str = ""
    imports: str = ""
    memory: str = ""
    status: bool = False
    limits: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[tuple[str, str], ...] = ()
    output: Mapping[str, Any] | None = None
    stderr: str = ""  # of a command: it is behind the error

    def __call__(self, convention: str, dtype: str, batch: int, isolation: str) -> Made:
        """The row's guest and requests."""
        parts: dict[str, Any] = {"batch": batch, "more": self.more, "imports": self.imports, "memory": self.memory}
        if convention == "dlpack":
            output = {**self.output, "dtype": dtype} if self.output else None
            module = harm.dlpack(dtype, self.code, output=output, **parts)
        elif convention == "command":
            module = harm.command(self.code, **parts)
        elif convention == "gufunc":
            module = harm.gufunc(dtype, self.code, status=self.status, **parts)
        else:
            module = harm.elementwise(dtype, self.code, **parts)
        good, bad = (request(convention, dtype, batch, bad=bad) for bad in (False, True))
        text = of_entry(convention, self.text) + (self.stderr if convention == "command" else "")
        lines = () if convention == "command" else self.lines
        return Made(module, bad, Failure(self.kind, text), good, answer(convention, good), True, lines, self.limits)


__all__ = ["Fault", "GuestError", "Harm", "Made"]
