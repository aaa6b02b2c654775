"""Splits a call along axis 0 over threads, each with an instance of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..batch.coalesce import Pieces, joined
from ..errors import AbiViolation
from ..interface.interface import Convention, Interface, core_ranks
from .loaded import Executor
from .parallel import Workers, spans
from .store import Deadline

LEAST_BYTES = 128 << 10  # of the inputs of one part, where the host loops: less is not worth a thread


class Threaded:
    """An executor whose calls are cut into as many parts as there are `workers`."""

    def __init__(self, executor: Executor, interface: Interface, workers: Workers) -> None:
        self._executor = executor
        self._interface = interface
        self._workers = workers
        self._exact = interface.convention is Convention.DLPACK
        self._cores = core_ranks(interface)

    def run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        """As `PythonExecutor.run`. Raises AbiViolation where the parts' outputs do not fit together."""
        arrays = joined(inputs)
        cuts = self._cuts(arrays)
        parts = spans(self._rows(arrays, cuts), self._workers.count, self._least(arrays, cuts)) if any(cuts) else []
        if len(parts) < 2:
            return self._executor.run(inputs, deadline, borrow)

        def part(span: tuple[int, int]) -> list[np.ndarray]:
            own = [
                None if array is None else [array[span[0] : span[1]] if cut else array]
                for array, cut in zip(arrays, cuts)
            ]
            return self._executor.run(own, deadline)

        results = self._workers.each(part, parts)
        return [self._together(i, [result[i] for result in results]) for i in range(len(self._interface.outputs))]

    def observe(self) -> None:
        """Bring the program's counters up to date."""
        self._executor.observe()

    def close(self) -> None:
        """Let go of the instances that are kept."""
        self._executor.close()

    def _cuts(self, arrays: Sequence[np.ndarray | None]) -> list[bool]:
        """Which arrays are cut: those that have all the loop dimensions, and more than one item in the first."""
        given = [(array, core) for array, core in zip(arrays, self._cores) if array is not None]
        if self._exact:
            rows = {len(array) if array.ndim else 0 for array, _ in given}
            return [len(rows) == 1 and self._interface.max_batch_size > 0 and array is not None for array in arrays]
        most = max(array.ndim - core for array, core in given)
        cuts = [a is not None and a.ndim - c == most > 0 and len(a) > 1 for a, c in zip(arrays, self._cores)]
        return (
            cuts if len({len(a) for a, cut in zip(arrays, cuts) if cut and a is not None}) == 1 else [False] * len(cuts)
        )

    @staticmethod
    def _rows(arrays: Sequence[np.ndarray | None], cuts: Sequence[bool]) -> int:
        return next(len(array) for array, cut in zip(arrays, cuts) if cut and array is not None)

    def _least(self, arrays: Sequence[np.ndarray | None], cuts: Sequence[bool]) -> int:
        """The fewest rows that are worth a thread."""
        if self._exact:
            return 1
        size = sum(array.nbytes for array, cut in zip(arrays, cuts) if cut and array is not None)
        return -(-LEAST_BYTES // max(size // self._rows(arrays, cuts), 1))

    def _together(self, number: int, parts: list[np.ndarray]) -> np.ndarray:
        if len({part.shape[1:] for part in parts}) > 1:
            raise AbiViolation(
                f"output '{self._interface.outputs[number].name}' has another shape in each part of the batch"
                f" ({[list(p.shape) for p in parts]}): set wasm.threads to 1 for a module whose output shape depends on"
                " the whole batch"
            )
        return np.concatenate(parts)
