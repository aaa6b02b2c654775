"""Runs the jobs that load and unload models, in a bounded number of threads; those of related models run in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from .request_errors import RequestError, unavailable

T = TypeVar("T")
_Job = tuple["Future[T]", Callable[[], T]]


class ControlQueue(Generic[T]):
    """Runs jobs in up to `max_threads` threads. At most `max_waiting` jobs wait.

    The jobs of a group run one after the other, in the order in which they were submitted. The threads end when no job
    waits; they are daemons, so that a service that stops does not wait for a compiler.
    """

    def __init__(self, max_threads: int, max_waiting: int) -> None:
        self._max_threads, self._max_waiting = max_threads, max_waiting
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, deque[_Job[T]]] = {}  # of the groups with a job that waits or runs
        self._ready: deque[Hashable] = deque()  # groups whose next job can run
        self._count = self._threads = 0
        self._closed = False

    def submit(self, group: Hashable, job: Callable[[], T]) -> Future[T]:
        """The future result of `job`. Raises RequestError with status 503 if too many jobs wait, and after `close`."""
        with self._lock:
            if self._closed:
                raise _closed()
            if self._count >= self._max_waiting:
                raise unavailable(f"{self._count} requests to load or unload models are waiting; retry later")
            self._count += 1
            future: Future[T] = Future()
            if group not in self._waiting:
                self._waiting[group] = deque()
                self._ready.append(group)
            self._waiting[group].append((future, job))
            starts = self._threads < min(self._max_threads, len(self._waiting))
            self._threads += starts
        if starts:
            threading.Thread(target=self._work, name="model control", daemon=True).start()
        return future

    def close(self) -> None:
        """Accept no more jobs. Those that wait fail with RequestError."""
        with self._lock:
            self._closed = True
            waiting = [job for jobs in self._waiting.values() for job in jobs]
            for jobs in self._waiting.values():
                jobs.clear()
            self._ready.clear()
            self._count = 0
        for future, _ in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(_closed())

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._ready:
                    self._threads -= 1
                    return
                group = self._ready.popleft()
                future, job = self._waiting[group].popleft()
                self._count -= 1
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job())
                except BaseException as error:  # noqa: BLE001  # of the job, for its caller
                    future.set_exception(error)
            with self._lock:
                if self._waiting[group]:
                    self._ready.append(group)
                else:
                    del self._waiting[group]


def _closed() -> RequestError:
    return unavailable("the service is shutting down")
