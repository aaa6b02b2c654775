"""The supervisor of worker processes: starts them, restarts those that end, passes signals on, and merges answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from ..peers.channel import Channel, Handler
from ..reports import ModelReport, ServiceReport, merge_reports
from .control_broadcast import ControlBroadcast
from .orphans import reap_orphans
from .region_broadcast import RegionBroadcast
from .restart_policy import MAX_FAILED_STARTS, RestartPolicy
from .worker import Worker
from .worker_group import WorkerGroup
from .worker_launch import WorkerLaunch, describe_end

STOP_S = 30.0
"""Seconds that workers may take to stop, in addition to `drain_s`: more than each needs with its own limits."""
_LOG = logging.getLogger(__name__)


class Supervisor:
    """Runs the workers of one service until a signal arrives.

    `on_change` is called whenever a worker listens or a model becomes ready or fails; if it returns False, the service
    ends.
    """

    def __init__(self, launch: WorkerLaunch, on_change: Callable[[ServiceReport], bool] | None = None) -> None:
        self._launch, self._on_change = launch, on_change
        self._settings = launch.settings
        self._group = WorkerGroup()
        self._reported: tuple[ModelReport, ...] | None = None
        self._status = 0

    def run(self) -> int:
        """Serve; returns the exit status."""
        return asyncio.run(self._run())

    async def _run(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._stopping, self._all_quiet = asyncio.Event(), asyncio.Event()
        self._regions, self._control = RegionBroadcast(self._group), ControlBroadcast(self._group)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._handle_signal, number)
        numbers = range(1, self._settings.worker_processes + 1)
        tasks = [asyncio.create_task(self._keep_running(number)) for number in numbers]
        await self._stopping.wait()
        # the workers have the sockets too: the ports are closed when they do not listen any more
        for listener in self._launch.listeners:
            listener.close()
        for worker in self._group:
            worker.stop()
        _, late = await asyncio.wait(tasks, timeout=self._settings.drain_s + STOP_S)
        if late:
            _LOG.error("%d workers did not stop in time", len(late))
            self._status = 1
            self._kill_all()
            await asyncio.wait(late)
        return self._status

    def _handle_signal(self, number: int) -> None:
        if self._stopping.is_set():
            self._kill_all()
            os._exit(128 + number)
        self._stopping.set()

    def _kill_all(self) -> None:
        for worker in self._group:
            worker.kill()

    def _fail(self, reason: str) -> None:
        """End the service with status 1."""
        if not self._stopping.is_set():
            _LOG.critical("%s", reason)
            self._status = 1
            self._stopping.set()

    # -- one worker ------------------------------------------------------------------------------------------------

    async def _keep_running(self, number: int) -> None:
        """Run worker `number`, again whenever it ends, until the service stops."""
        policy = RestartPolicy()
        while not self._stopping.is_set():
            try:
                worker = await self._start(number)
            except OSError as error:
                self._fail(f"cannot start worker {number}: {error.strerror}")
                return
            if self._stopping.is_set():  # in the meantime
                worker.stop()
            status = await worker.process.wait()
            reap_orphans(each.process.pid for each in self._group)
            served_s = worker.served_s
            self._remove(worker)
            if self._stopping.is_set():
                if status and served_s is not None:
                    _LOG.error("worker %d ended with %s", number, describe_end(status))
                    self._status = 1
                return
            delay_s = policy.delay_s(served_s)
            if delay_s is None:
                end = describe_end(status)
                self._fail(f"worker {number} ended {MAX_FAILED_STARTS} times before it served, last with {end}")
                return
            _LOG.error("worker %d ended with %s; it is restarted in %g s", number, describe_end(status), delay_s)
            self._group.restarts += 1
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)

    async def _start(self, number: int) -> Worker:
        async with self._regions.lock, self._control.lock:
            listens_at_once = not any(each.listens_at_once or each.served_s is not None for each in self._group)
            process, connection = await self._launch.start(
                number,
                listens_at_once=listens_at_once,
                regions=list(self._regions.regions.values()),
                control_requests=self._control.performed(),
            )
            worker = Worker(number, process, listens_at_once=listens_at_once)
            channel = Channel(connection, self._handlers(worker), lambda: None, f"worker {number}")
            worker.channel = channel
            self._group.add(worker)
        channel.start()
        self._publish()
        return worker

    def _remove(self, worker: Worker) -> None:
        worker.channel.close()
        self._group.remove(worker)
        self._check_quiet()
        self._publish()

    def _handlers(self, worker: Worker) -> dict[str, Handler]:
        """The handlers of the worker's messages, which are called in the thread of its channel."""

        def in_loop(answer: Callable[[Any], Any]) -> Callable[[Any], Future[Any]]:
            return lambda body: asyncio.run_coroutine_threadsafe(answer(body), self._loop)

        return {
            "state": in_loop(lambda state: self._set_state(worker, state)),
            "metrics": in_loop(lambda _: self._group.metrics()),
            "statistics": in_loop(self._group.statistics),
            "region": in_loop(self._regions.perform),
            "control": in_loop(self._control_models),
            "lost regions": in_loop(self._regions.forget),
            "quiet": in_loop(lambda _: self._wait_quiet(worker)),
        }

    async def _set_state(self, worker: Worker, state: Mapping[str, Any]) -> None:
        worker.update(state)
        self._publish()

    async def _control_models(self, request: dict[str, Any]) -> dict[str, Any]:
        outcome = await self._control.perform(request)
        self._group.forget_ended(request["name"])
        return outcome

    # -- the state of the service ----------------------------------------------------------------------------------

    def _publish(self) -> None:
        """Let the next workers load their models, and report the state of the service to all workers and to
        `on_change`."""
        if self._stopping.is_set():
            return
        self._grant_loading()
        reasons = self._reasons()
        starting = [n for n in range(1, self._settings.worker_processes + 1) if not self._has_reported(n)]
        text = "; ".join([*reasons.values(), *(f"worker {number} is starting" for number in starting)])
        for name in self._settings.versions() if starting else ():
            reasons.setdefault(name, f"worker {starting[0]} is starting")
        for worker in self._group:
            worker.channel.notify("peers", {"reason": text, "models": reasons})
        self._report(is_starting=bool(starting))

    def _has_reported(self, number: int) -> bool:
        return any(worker.number == number and worker.models is not None for worker in self._group)

    def _reasons(self) -> dict[str, str]:
        """The reason why a model is not ready, by the names of those that are not ready in a worker."""
        reasons: dict[str, str] = {}
        for worker in self._group:
            for name, reason in worker.reasons().items():
                reasons.setdefault(name, reason)
        return reasons

    def _grant_loading(self) -> None:
        workers = list(self._group)
        # modules are compiled by the first one; the others find them in the cache
        is_cached = any(worker.settled for worker in workers)
        for worker in workers if is_cached else workers[:1]:
            worker.grant_loading()

    def _report(self, *, is_starting: bool) -> None:
        if self._on_change is None or not any(worker.served_s is not None for worker in self._group):
            return
        models = merge_reports([worker.models or () for worker in self._group])
        if is_starting:
            models = tuple(ModelReport(name=model.name, failure=model.failure) for model in models)
        if models != self._reported:
            self._reported = models
            report = ServiceReport(settings=self._settings, host=self._launch.host, models=models)
            if not self._on_change(report):
                self._status = 1
                self._stopping.set()

    # -- the end ---------------------------------------------------------------------------------------------------

    async def _wait_quiet(self, worker: Worker) -> None:
        """Wait until all workers can stop listening: they share the socket, and the first one would close the port."""
        worker.quiet = True
        self._check_quiet()
        await self._all_quiet.wait()

    def _check_quiet(self) -> None:
        if all(worker.quiet for worker in self._group if worker.served_s is not None):
            self._all_quiet.set()
        else:
            self._all_quiet.clear()
