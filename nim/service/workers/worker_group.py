"""The running workers of a service: questions to all of them, and their merged answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from ..peers.channel import ChannelClosed
from ..peers.metric_merging import Family, cumulative_metrics, merge_metrics
from ..peers.statistics_merging import merge_statistics
from .worker import Worker

ANSWER_S = 2.0
"""Time limit in seconds for a worker's answer; afterwards its last one is used."""
_LOG = logging.getLogger(__name__)


class WorkerGroup:
    """The workers by number. What those that have ended had counted is part of the answers: counters never decrease,
    and include at least what was last reported."""

    def __init__(self) -> None:
        self._workers: dict[int, Worker] = {}
        self._last: dict[str, dict[int, Any]] = {"metrics": {}, "statistics": {}}
        self._ended_metrics: list[Family] = []
        self._ended_statistics: dict[str, dict[str, Any]] = {}
        self.restarts = 0
        """The number of workers that have ended and were started again."""

    def __iter__(self) -> Iterator[Worker]:
        return iter([self._workers[number] for number in sorted(self._workers)])

    def __len__(self) -> int:
        return len(self._workers)

    def add(self, worker: Worker) -> None:
        """Add a worker that has started."""
        self._workers[worker.number] = worker

    def remove(self, worker: Worker) -> None:
        """Remove a worker that has ended; what it had counted is kept."""
        self._workers.pop(worker.number, None)
        metrics = self._last["metrics"].pop(worker.number, [])
        self._ended_metrics = merge_metrics([self._ended_metrics], cumulative_metrics(metrics))
        statistics = self._last["statistics"].pop(worker.number, {})
        self._ended_statistics = _merge_models([self._ended_statistics, statistics])

    def forget_ended(self, model: str) -> None:
        """Forget the statistics of `model` in workers that have ended: they begin again when a model is loaded."""
        self._ended_statistics.pop(model, None)

    async def metrics(self) -> list[Family]:
        """The metrics of the service."""
        documents = await self._gather("metrics")
        return merge_metrics([*documents, group_metrics(len(self), self.restarts)], self._ended_metrics)

    async def statistics(self, names: Sequence[str]) -> dict[str, Any]:
        """The statistics of the models `names`, by name, as far as they are ready in a process."""
        merged = _merge_models([*await self._gather("statistics"), self._ended_statistics])
        return {name: merged[name] for name in names if name in merged}

    async def _gather(self, kind: str) -> list[Any]:
        """The answers of all workers, without those that have not answered yet."""
        last = self._last[kind]

        async def ask(worker: Worker) -> None:
            try:
                answer = await asyncio.wait_for(asyncio.wrap_future(worker.channel.request(kind, None)), ANSWER_S)
            except asyncio.TimeoutError:
                _LOG.warning("worker %d did not answer a request for its %s", worker.number, kind)
            except ChannelClosed:
                pass
            else:
                if self._workers.get(worker.number) is worker:
                    last[worker.number] = answer

        # one that has not reported its state still starts
        await asyncio.gather(*(ask(worker) for worker in self if worker.models is not None))
        return list(last.values())


def group_metrics(workers: int, restarts: int) -> list[Family]:
    """The metrics that the supervisor adds: `workers` run, and `restarts` workers ended and were started again."""
    families = (("workers", "gauge", "Worker processes", workers), ("worker_restarts", "counter", "Restarts", restarts))
    return [
        {
            "name": f"wasm_service_{name}",
            "type": kind,
            "help": text,
            "samples": [[f"wasm_service_{name}" + "_total" * (kind == "counter"), [], value]],
        }
        for name, kind, text, value in families
    ]


def _merge_models(documents: Sequence[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    names = {name for document in documents for name in document}
    return {name: merge_statistics([document[name] for document in documents if name in document]) for name in names}
