"""A row of the table: a module, its settings, the calls, and the expected result of each request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portalis.backend.errors import WasmError

Tensors = Mapping[str, np.ndarray]
FRAMES = "\nwasm backtrace: …"
"""Stands in a row's text for the backtrace, which the executors have to agree about."""
_BACKTRACE = re.compile(r"\nwasm backtrace:(?:\n +\d+: .*)+")


@dataclass(frozen=True)
class Failure:
    """The error of a request. `by_triton`: Triton itself refuses such a request, with words of its own."""

    kind: type[WasmError]
    text: str
    by_triton: bool = False


@dataclass(frozen=True)
class Call:
    """Requests that arrive together, and the answer to each."""

    requests: tuple[Tensors, ...]
    answers: tuple[Tensors | Failure, ...]


@dataclass(frozen=True)
class Case:
    """`limits` are fields of Limits. `dims` replace the module's own in config.pbtxt: with -1 Triton leaves the check
    of a size to the backend. `lines` are what the guest writes in all calls, by stream."""

    name: str
    module: bytes
    calls: tuple[Call, ...]
    isolation: str = "batch"
    limits: Mapping[str, Any] = field(default_factory=dict)
    dims: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    lines: tuple[tuple[str, str], ...] = ()
    factors: Mapping[str, str] = field(default_factory=dict)


Outcome = dict[str, tuple[str, tuple[int, ...], bytes]] | tuple[str, str]
"""An answer as bytes: data type, shape and content of each output; or an error's kind and text."""


Seen = Callable[["Tensors | Failure", Outcome], Outcome]


def outcome(answer: Tensors | WasmError) -> Outcome:
    """The result of an executor, in the form of the table."""
    if isinstance(answer, WasmError):
        return type(answer).__name__, str(answer)
    return {name: (array.dtype.name, array.shape, content(array)) for name, array in answer.items()}


def content(array: np.ndarray) -> bytes:
    """The elements, row-major; those of a BYTES tensor with their sizes."""
    if array.dtype.kind != "O":
        return np.ascontiguousarray(array).tobytes()
    return b"".join(len(each).to_bytes(4, "little") + each for each in array.reshape(-1).tolist())


def expected(answer: Tensors | Failure, got: Outcome) -> Outcome:
    """The outcome for `answer`, with the backtrace of the actual error."""
    if not isinstance(answer, Failure):
        return outcome(answer)
    found = _BACKTRACE.search(got[1]) if isinstance(got, tuple) else None
    text = answer.text.replace(FRAMES, found[0]) if found else answer.text
    return answer.kind.__name__, text


def differences(case: Case, found: Sequence[Sequence[Outcome]], seen: Seen = expected) -> Iterator[str]:
    """The differences between the row and `found`, the outcomes of its calls.

    `seen` converts an answer to its form there.
    """
    for number, (call, outcomes) in enumerate(zip(case.calls, found, strict=True)):
        for place, (answer, got) in enumerate(zip(call.answers, outcomes, strict=True)):
            wanted = seen(answer, got)
            if got != wanted:
                yield f"call {number}, request {place} is answered\n  {got!s:.1000}\nand not\n  {wanted!s:.1000}"


def late(case: Case, found: Sequence[Sequence[Outcome]], kind: str) -> bool:
    """Whether a request that is to go well ended in `kind`, a timeout, as on a busy machine."""
    pairs = (pair for call, outcomes in zip(case.calls, found) for pair in zip(call.answers, outcomes))
    return any(isinstance(got, tuple) and got[0] == kind and not isinstance(answer, Failure) for answer, got in pairs)
