"""Splitting a batch into parts that run concurrently on threads."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.backend.executor.threads import GuestThreads, split_range
from tests.running.waiting import PATIENCE_S


@given(size=st.integers(0, 10_000), parts=st.integers(0, 70), least=st.integers(0, 500))
def test_ranges_cover_all_items_once_in_nearly_equal_parts(size: int, parts: int, least: int) -> None:
    found = split_range(size, parts, least)
    assert [i for start, end in found for i in (start, end)][1:-1:2] == [start for start, _ in found][1:]
    assert (found[0][0], found[-1][1]) == (0, size) and 1 <= len(found) <= max(parts, 1)
    lengths = [end - start for start, end in found]
    assert max(lengths) - min(lengths) <= 1
    assert len(found) == 1 or min(lengths) >= max(least, 1)


def test_the_number_of_ranges_depends_on_the_work() -> None:
    assert split_range(10, 4) == [(0, 2), (2, 5), (5, 7), (7, 10)]
    assert split_range(10, 4, 4) == [(0, 5), (5, 10)]
    assert split_range(3, 4, 4) == [(0, 3)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_workers_keep_the_order_of_their_items(count: int) -> None:
    workers = GuestThreads(count)
    assert workers.count == count
    assert workers.each(lambda x: x * x, list(range(20))) == [x * x for x in range(20)]
    assert workers.each(str, [7]) == ["7"]
    workers.close()


def test_the_items_run_concurrently_and_the_caller_runs_the_first() -> None:
    workers, barrier = GuestThreads(3), threading.Barrier(3)

    def meet(_: int) -> str:
        barrier.wait(PATIENCE_S)
        return threading.current_thread().name

    names = workers.each(meet, [0, 1, 2])
    workers.close()
    assert names[0] == threading.current_thread().name
    assert len(set(names)) == 3 and all(name.startswith("wasm") for name in names[1:])


@pytest.mark.parametrize("failing", [0, 1])
def test_the_first_error_is_raised_after_every_item_has_ended(failing: int) -> None:
    workers, ended, failed = GuestThreads(2), threading.Event(), threading.Event()

    def work(item: int) -> None:
        if item == failing:
            failed.set()
            raise KeyError(item)
        assert failed.wait(PATIENCE_S)
        ended.set()

    with pytest.raises(KeyError, match=str(failing)):
        workers.each(work, [0, 1])
    assert ended.is_set()
    workers.close()


def test_closing_ends_the_threads() -> None:
    workers, threads = GuestThreads(3), []

    def note(_: int) -> None:
        threads.append(threading.current_thread())

    workers.each(note, [0, 1, 2])
    workers.close()
    workers.close()
    assert not any(thread.is_alive() for thread in threads if thread is not threading.current_thread())
