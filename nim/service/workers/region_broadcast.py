"""The shared memory regions that all workers have registered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from ..peers.channel import ChannelClosed
from .worker import Worker

ANSWER_S = 30.0
"""Time limit in seconds for a worker to change a region; one that exceeds it is ended, as its regions are not known."""
_LOG = logging.getLogger(__name__)
_Error = list[Any]  # the fields of a RequestError


class RegionBroadcast:
    """Changes the regions of all `workers`, one change after the other."""

    def __init__(self, workers: Iterable[Worker]) -> None:
        self.regions: dict[str, list[Any]] = {}
        """The name, key, offset and size of each region, by name."""
        self.lock = asyncio.Lock()
        """Locked during changes, and while a worker starts to take part in them."""
        self._workers = workers

    async def perform(self, change: Sequence[Any]) -> dict[str, Any]:
        """Perform a change, as `RegionChanges` sends it: an answer without an error means that every worker has it."""
        action, *arguments = change
        async with self.lock:
            if action == "register":
                return {"error": await self._register(arguments)}
            if action == "unregister":
                return {"error": await self._unregister(arguments[0])}
            used = [name for name in sorted(self.regions) if await self._unregister(name)]
            return {"used": used}

    async def forget(self, names: Iterable[str]) -> None:
        """Unregister regions that a new worker could not register: their objects do not exist any more."""
        for name in names:
            _LOG.warning("shared memory region '%s' is unregistered: a new worker could not open its object", name)
            await self.perform(["unregister", name])

    async def _register(self, arguments: list[Any]) -> _Error | None:
        error = await self._change(["register", *arguments], undo=["unregister", arguments[0]])
        if error is None:
            self.regions[arguments[0]] = arguments
        return error

    async def _unregister(self, name: str) -> _Error | None:
        region = self.regions.get(name)
        if region is None:
            return None
        error = await self._change(["unregister", name], undo=["register", *region])
        if error is None:
            del self.regions[name]
        return error

    async def _change(self, change: list[Any], undo: list[Any]) -> _Error | None:
        """Perform `change` in each worker; `undo` it where it was performed if it fails in one."""
        changed: list[Worker] = []
        for worker in self._workers:
            error = await self._ask(worker, change)
            if error is not None:
                for other in changed:
                    if (failure := await self._ask(other, undo)) is not None:
                        _LOG.error("worker %d cannot undo a change of a region: %s", other.number, failure[-1])
                return error
            changed.append(worker)
        return None

    async def _ask(self, worker: Worker, change: list[Any]) -> _Error | None:
        answer = asyncio.wrap_future(worker.channel.request("change region", change))
        try:
            error: _Error | None = await asyncio.wait_for(answer, ANSWER_S)
        except ChannelClosed:
            return None  # it has ended; the one that replaces it gets the regions when it starts
        except asyncio.TimeoutError:
            _LOG.error("worker %d did not change a shared memory region in time; it is ended", worker.number)
            worker.kill()
            return None
        return error
