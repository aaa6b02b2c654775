"""The short way for a request like the last one: everything that depends on its shapes has been decided.

Between two requests the caches go cold, and then every line of Python on the way costs several times what it costs in
a loop (measured: 80 µs for the long way at 4 KiB, where the guest needs 3). A `HotCall` belongs to one sandbox that is
kept or rewound; it steps aside (None) for anything that it was not made for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..batch.coalesce import shares_rows
from ..compile import engine as engines
from ..compile.engine import deadline_ticks
from ..errors import Trap
from . import native
from .sandbox import Sandbox, SandboxFactory

Key = tuple[tuple[tuple[int, ...], np.dtype], ...]  # the shape and dtype of each input, requests joined along axis 0
Pieces = Sequence[np.ndarray]  # one input, cut along axis 0: an array from each request
KEPT = 32  # batches of different sizes come in turn


class Runner(Protocol):
    """What the runner of a convention adds to a call of its `entry`."""

    entry: bytes

    def explained(self, box: Sandbox, trap: Trap) -> Trap:
        """`trap` with what the guest has to say about it; `box` is discarded."""


class HotCall:
    """One call with tensors of known shapes in one sandbox.

    `targets` are the inputs' places in guest memory, `gaps` what else of the block is cleared after a rewind, `image` a
    view and the bytes that belong there, `size` the bytes of all tensors, `slots` the arguments, and `finish` makes the
    outputs. It raises GuestError for the status of a guest that failed.
    """

    __slots__ = (
        "_count",
        "_factory",
        "_finish",
        "_first",
        "_function",
        "_gaps",
        "_image",
        "_memory",
        "_raw",
        "_runner",
        "_size",
        "_targets",
        "box",
    )

    def __init__(
        self,
        runner: Runner,
        factory: SandboxFactory,
        box: Sandbox,
        function: native.Extern,
        targets: Sequence[np.ndarray],
        gaps: Sequence[np.ndarray],
        image: tuple[np.ndarray, np.ndarray] | None,
        size: int,
        slots: Sequence[int],
        finish: Callable[[int], list[np.ndarray]],
    ) -> None:
        self._runner = runner
        self._factory = factory
        self.box = box
        self._memory = box.view()
        self._function = function
        self._finish = finish
        self._targets = targets
        self._gaps = gaps
        self._image = image
        self._size = size
        self._first = slots[0] if slots else 0
        self._count = max(len(slots), 1)
        self._raw: Any = native.slots(self._count)
        for i, value in enumerate(slots):
            self._raw[2 * i] = value

    def is_idle(self) -> bool:
        """Whether the sandbox waits for another call."""
        return self._factory.waits(self.box)

    def run(self, inputs: Sequence[Pieces], timeout_s: float) -> list[np.ndarray] | None:
        """The outputs, as views that are valid until the next call; None where the long way must be taken.

        Raises GuestError; the sandbox is gone then.
        """
        box = self.box
        if not self._factory.retake(box, self._memory, self._size):
            return None
        try:
            ends = time.monotonic() + timeout_s
            engines.TICKER.use(ends)
            box.store.set_deadline(deadline_ticks(timeout_s), timeout_s, ends)
            if box.snapshot is not None:
                for gap in self._gaps:
                    gap.fill(0)
            if self._image is not None:
                self._image[0][:] = self._image[1]
            for target, pieces in zip(self._targets, inputs):
                put(target, pieces)
            raw = self._raw
            raw[0] = self._first  # the result lay there; the other arguments are as they were
            box.store.call(self._function, raw, self._count)
            outputs: list[np.ndarray] = self._finish(native.i32(raw[0]))
        except Trap as trap:
            raise self._runner.explained(box, trap) from None
        except BaseException:
            self._factory.discard(box)
            raise
        self._factory.put_back(box, self._memory)
        return outputs


class HotCalls:
    """The short ways of one runner, by the shapes that they are for. `names` are its inputs; `joins` says whether
    requests may be joined, and `cores` the core dimensions of a convention that broadcasts."""

    def __init__(self, names: Sequence[str], *, joins: bool, cores: Sequence[int] | None = None) -> None:
        self._names = tuple(names)
        self._joins = joins
        self._cores = cores
        self._calls: dict[Key, HotCall] = {}
        self._box: Sandbox | None = None

    def keep(self, key: Key, call: HotCall) -> None:
        """Use `call` for requests that `gather` finds `key` for."""
        if len(self._calls) >= KEPT or call.box is not self._box:
            self._calls.clear()  # calls of a sandbox that is gone would keep it in memory
            self._box = call.box
        self._calls[key] = call
        if not call.is_idle():  # it gave way meanwhile: `clear` may have come too early
            self.clear()

    def clear(self) -> None:
        """Let go of the sandbox."""
        self._calls.clear()
        self._box = None

    def find(self, requests: Sequence[Mapping[str, Any]]) -> tuple[HotCall, list[list[np.ndarray]]] | None:
        """The short way for `requests`, and their tensors as it takes them."""
        if not self._calls or (len(requests) > 1 and not self._joins):
            return None
        found = gather(self._names, requests)
        if found is None:
            return None
        if len(requests) > 1 and self._cores and not shares_rows([p[0] for p in found[1]], self._cores):
            return None
        call = self._calls.get(found[0])
        return None if call is None else (call, found[1])


def gather(names: Sequence[str], requests: Sequence[Mapping[str, Any]]) -> tuple[Key, list[list[np.ndarray]]] | None:
    """The key and the pieces of `requests`; None where an input is missing, unknown, no array, or fits no other."""
    if len(requests) == 1:
        return _gather_one(names, requests[0])
    inputs: list[list[np.ndarray]] = []
    key = []
    for request in requests:
        if len(request) != len(names):
            return None
    for name in names:
        pieces: list[Any] = [request.get(name) for request in requests]
        first = pieces[0]
        if type(first) is not np.ndarray:
            return None
        rest, dtype = first.shape[1:], first.dtype
        for piece in pieces:
            if type(piece) is not np.ndarray or not piece.ndim or piece.shape[1:] != rest or piece.dtype != dtype:
                return None
        if inputs and [len(a) for a in inputs[0]] != [len(b) for b in pieces]:
            return None  # each request has its own number of rows, the same in all its inputs
        inputs.append(pieces)
        key.append(((sum(len(piece) for piece in pieces), *rest), dtype))
    return tuple(key), inputs


def _gather_one(names: Sequence[str], request: Mapping[str, Any]) -> tuple[Key, list[list[np.ndarray]]] | None:
    inputs, key = [], []
    for name in names:
        array = request.get(name)
        if type(array) is not np.ndarray:
            return None
        inputs.append([array])
        key.append((array.shape, array.dtype))
    return (tuple(key), inputs) if len(request) == len(inputs) else None


def put(target: np.ndarray, pieces: Pieces) -> None:
    """Copy `pieces`, joined along axis 0, to `target`."""
    if len(pieces) == 1:
        target[...] = pieces[0]
        return
    at = 0
    for piece in pieces:
        target[at : at + len(piece)] = piece
        at += len(piece)
