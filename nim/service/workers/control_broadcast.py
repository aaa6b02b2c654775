"""Loads and unloads of models in all workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from ..peers.channel import ChannelClosed
from .worker import Worker

MAX_WAITING = 256
"""Maximum number of requests to load or unload models that wait."""
_Outcome = dict[str, Any]  # the fields of a ControlOutcome


class ControlBroadcast:
    """Performs requests to load and unload models in all `workers`, one after the other."""

    def __init__(self, workers: Iterable[Worker]) -> None:
        self.lock = asyncio.Lock()
        """Locked during changes, and while a worker starts to take part in them."""
        self._workers, self._waiting = workers, 0
        self._performed: dict[str, dict[str, Any]] = {}

    def performed(self) -> list[dict[str, Any]]:
        """The last successful request for each model, in the order in which a new worker has to perform them."""
        return list(self._performed.values())

    async def perform(self, request: dict[str, Any]) -> _Outcome:
        """The outcome of a request: a success means that it was successful in each worker."""
        if self._waiting >= MAX_WAITING:
            text = f"{self._waiting} requests to load or unload models are waiting; retry later"
            return {"status": 503, "kind": "ServiceUnavailableError", "message": text}
        self._waiting += 1
        try:
            async with self.lock:
                outcome = await self._change(request)
        finally:
            self._waiting -= 1
        return outcome

    async def _change(self, request: dict[str, Any]) -> _Outcome:
        workers = list(self._workers)
        # the first one compiles the module, the others find it in the cache
        outcomes = [await _ask(worker, request) for worker in workers[:1]]
        outcomes += await asyncio.gather(*(_ask(worker, request) for worker in workers[1:]))
        failed = next((outcome for outcome in outcomes if outcome is not None and outcome["status"] != 200), None)
        if failed is None:
            self._performed.pop(request["name"], None)
            self._performed[request["name"]] = request
        return failed or {}


async def _ask(worker: Worker, request: dict[str, Any]) -> _Outcome | None:
    """The outcome in one worker; None if it ends before. The one that replaces it performs the request at its start."""
    try:
        outcome: _Outcome = await asyncio.wrap_future(worker.channel.request("change model", request))
    except ChannelClosed:
        return None
    return outcome
