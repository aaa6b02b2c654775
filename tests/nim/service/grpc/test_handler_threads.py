"""The threads of the gRPC server: calls beyond the limit wait, and a failure costs no thread."""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue

import pytest

from portalis.nim.service.grpc.handler_threads import HandlerThreads


def test_calls_beyond_the_limit_wait_for_a_thread() -> None:
    threads = HandlerThreads(lambda: 2)
    began: SimpleQueue[str] = SimpleQueue()
    go = threading.Semaphore(0)

    def call() -> None:
        began.put(threading.current_thread().name)
        go.acquire()

    for _ in range(5):
        threads.submit(call)
    first = {began.get(timeout=10), began.get(timeout=10)}
    assert len(first) == 2 and began.empty()
    go.release(5)
    assert {began.get(timeout=10) for _ in range(3)} <= first
    threads.close()


def test_an_idle_thread_is_used_again_and_a_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    threads = HandlerThreads(lambda: 100)
    names: SimpleQueue[str] = SimpleQueue()

    def fail() -> None:
        names.put(threading.current_thread().name)
        raise RuntimeError("on purpose")

    with caplog.at_level(logging.ERROR):
        seen = set()
        for _ in range(20):
            threads.submit(fail)
            seen.add(names.get(timeout=10))
    assert len(seen) < 20
    assert "on purpose" in caplog.text
    threads.close()
