"""Jobs of one group run in order, those of different groups in parallel, and both threads and waiting jobs are bounded."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from portalis.nim.service.control_queue import ControlQueue
from portalis.nim.service.request_errors import RequestError
from tests.running import waiting

PATIENCE_S = waiting.PATIENCE_S


def test_the_jobs_of_a_group_run_in_order_and_one_at_a_time() -> None:
    queue, order = ControlQueue[int](4, 100), list[int]()
    running, most = 0, 0
    lock = threading.Lock()

    def job(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        order.append(number)
        with lock:
            running -= 1
        return number

    futures = [queue.submit("group", partial(job, number)) for number in range(50)]
    assert [future.result(PATIENCE_S) for future in futures] == order == list(range(50)) and most == 1


def test_groups_run_in_parallel_and_the_threads_are_bounded_and_end() -> None:
    queue, release = ControlQueue[str](3, 100), threading.Event()
    started = threading.Semaphore(0)

    def job(name: str) -> str:
        started.release()
        assert release.wait(PATIENCE_S)
        return name

    before = threading.active_count()
    futures = [queue.submit(str(number), partial(job, str(number))) for number in range(8)]
    for _ in range(3):
        assert started.acquire(timeout=PATIENCE_S)
    assert not started.acquire(timeout=0.05) and threading.active_count() == before + 3
    release.set()
    assert [future.result(PATIENCE_S) for future in futures] == [str(number) for number in range(8)]
    waiting.until(lambda: threading.active_count() == before, threading.active_count)
    assert queue.submit("later", lambda: "x").result(PATIENCE_S) == "x"


def test_jobs_beyond_the_maximum_are_rejected_and_a_failed_job_does_not_stop_the_others() -> None:
    queue, release = ControlQueue[int](1, 2), threading.Event()
    started = threading.Event()

    def fail() -> int:
        started.set()
        release.wait(PATIENCE_S)
        raise ValueError("bad")

    first = queue.submit("a", fail)
    assert started.wait(PATIENCE_S)
    others = [queue.submit("a", lambda: 1), queue.submit("b", lambda: 2)]
    with pytest.raises(RequestError, match="2 requests to load or unload models are waiting") as caught:
        queue.submit("c", lambda: 3)
    assert caught.value.status == 503
    others[0].cancel()
    release.set()
    with pytest.raises(ValueError, match="bad"):
        first.result(PATIENCE_S)
    assert others[1].result(PATIENCE_S) == 2 and others[0].cancelled()


def test_after_the_close_jobs_that_wait_fail_and_no_other_is_accepted() -> None:
    queue, release = ControlQueue[int](1, 10), threading.Event()
    started = threading.Event()

    def job() -> int:
        started.set()
        release.wait(PATIENCE_S)
        return 1

    running = queue.submit("a", job)
    assert started.wait(PATIENCE_S)
    waits = [queue.submit("a", lambda: 2), queue.submit("b", lambda: 3)]
    queue.close()
    for future in waits:
        with pytest.raises(RequestError, match="shutting down"):
            future.result(PATIENCE_S)
    with pytest.raises(RequestError, match="shutting down"):
        queue.submit("a", lambda: 4)
    release.set()
    assert running.result(PATIENCE_S) == 1
