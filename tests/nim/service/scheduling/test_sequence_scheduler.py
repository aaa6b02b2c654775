"""Each sequence has an instance of its own, its requests run in order, and nothing that clients do makes it grow."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from portalis.backend import Program
from portalis.backend.compile.cache import CompileCache
from portalis.nim.service.request_errors import RequestError
from portalis.nim.service.scheduling.sequence_controls import SequenceControls
from portalis.nim.service.scheduling.sequence_scheduler import SequenceScheduler
from portalis.nim.service.sequence_settings import SequenceSettings
from portalis.nim.service.sequence_step import SequenceStep

from .stateful import sequences, sum_module

MODULE = sum_module()
ENDLESS = 9999.0


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CompileCache:
    return CompileCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def scheduler(cache: CompileCache) -> Iterator[SequenceScheduler]:
    with created(cache) as scheduler:
        yield scheduler


@contextlib.contextmanager
def created(cache: CompileCache, **changes: Any) -> Iterator[SequenceScheduler]:
    def create() -> Program:
        return Program.load(MODULE, isolation="instance", cache=cache)

    options: dict[str, Any] = {"batches": False, "max_sequences": 2, "max_idle_s": 60.0, "max_queued": 20, "workers": 2}
    settings = SequenceSettings.model_validate(sequences())
    with create() as program:
        controls = SequenceControls(settings.control_inputs, program.interface, "m")
    scheduler = SequenceScheduler(create, controls, name="m", **{**options, **changes})
    try:
        yield scheduler
    finally:
        scheduler.close()


async def send(
    scheduler: SequenceScheduler, sequence: int | str, value: float, flags: str = "", **options: Any
) -> list[float]:
    """y for one request. `flags` has S for the start and E for the end."""
    step = SequenceStep(sequence, "S" in flags, "E" in flags)
    outputs = await scheduler.run({"x": np.array([value], np.float32)}, step, **options)
    return list(outputs["y"].tolist())


async def failure(request: Any) -> tuple[int, str]:
    with pytest.raises(RequestError) as raised:
        await request
    return raised.value.status, raised.value.message


def test_the_module_gets_all_controls(scheduler: SequenceScheduler) -> None:
    async def script() -> None:
        assert await send(scheduler, 7, 1, "S") == [1, 7, 1, 0, 1]
        assert await send(scheduler, 7, 2) == [3, 7, 0, 0, 1]
        assert await send(scheduler, 7, 4, "E") == [7, 7, 0, 1, 1]
        assert await send(scheduler, 7, 5, "SE") == [5, 7, 1, 1, 1]
        assert (await send(scheduler, 2**64 - 1, 5, "SE"))[1] == float(np.float32(2**64))

    asyncio.run(script())


def test_sequences_do_not_see_each_other(scheduler: SequenceScheduler) -> None:
    async def script() -> None:
        for start in ("S", "", ""):
            answers = await asyncio.gather(*(send(scheduler, each, each, start) for each in (1, 2)))
        assert [answer[0] for answer in answers] == [3, 6]

    asyncio.run(script())


def test_requests_of_a_sequence_run_in_the_order_of_arrival(scheduler: SequenceScheduler) -> None:
    async def script() -> list[float]:
        sent = [send(scheduler, 1, 10**i, "S" if not i else "") for i in range(6)]
        return [answer[0] for answer in await asyncio.gather(*sent)]

    assert asyncio.run(script()) == [1, 11, 111, 1111, 11111, 111111]


def test_errors_are_tritons(scheduler: SequenceScheduler) -> None:
    async def script() -> None:
        start = "must specify the START flag on the first request of the sequence"
        for flags in ("", "E"):
            expected = 400, f"inference request for sequence 3 to model 'm' {start}"
            assert await failure(send(scheduler, 3, 1, flags)) == expected
        for empty in (0, ""):
            expected = 400, "inference request to model 'm' must specify a non-zero or non-empty correlation ID"
            assert await failure(send(scheduler, empty, 1, "S")) == expected
        status, message = await failure(send(scheduler, "abc", 1, "S"))
        assert (status, "'ID' is UINT64; use a number" in message) == (400, True)
        await send(scheduler, 3, 1, "SE")
        assert (await failure(send(scheduler, 3, 1)))[1].endswith(start)

    asyncio.run(script())


def test_a_start_in_a_sequence_starts_it_again(scheduler: SequenceScheduler) -> None:
    async def script() -> None:
        await send(scheduler, 1, 1, "S")
        assert (await send(scheduler, 1, 5, "S"))[0] == 5
        assert (await send(scheduler, 1, 1))[0] == 6

    asyncio.run(script())


def test_a_failed_request_leaves_the_sequence_usable(scheduler: SequenceScheduler) -> None:
    async def script() -> None:
        await send(scheduler, 1, 1, "S")
        status, message = await failure(send(scheduler, 1, -1))
        assert (status, "unreachable" in message) == (500, True)
        await send(scheduler, 1, 1)
        status, _ = await failure(send(scheduler, 1, ENDLESS, guest_timeout_s=0.05))
        assert status == 504
        await send(scheduler, 1, 1, "E")

    asyncio.run(script())


def test_the_next_request_starts_a_sequence_whose_start_was_cancelled(scheduler: SequenceScheduler) -> None:
    async def script() -> None:
        await send(scheduler, 1, 7, "S")
        endless = asyncio.create_task(send(scheduler, 1, ENDLESS, guest_timeout_s=0.2))
        await asyncio.sleep(0)
        again = asyncio.create_task(send(scheduler, 1, 100, "S"))
        following = asyncio.create_task(send(scheduler, 1, 2))
        await asyncio.sleep(0)
        again.cancel()
        assert (await failure(endless))[0] == 504
        assert await following == [2, 1, 1, 0, 1]

    asyncio.run(script())


def test_a_cancelled_end_frees_the_slot(cache: CompileCache) -> None:
    async def script(scheduler: SequenceScheduler) -> None:
        await send(scheduler, 1, 7, "S")
        endless = asyncio.create_task(send(scheduler, 1, ENDLESS, guest_timeout_s=0.2))
        await asyncio.sleep(0)
        end = asyncio.create_task(send(scheduler, 1, 1, "E"))
        await asyncio.sleep(0)
        end.cancel()
        assert (await send(scheduler, 2, 3, "SE"))[0] == 3
        assert (await failure(endless))[0] == 504

    with created(cache, max_sequences=1) as scheduler:
        asyncio.run(script(scheduler))


def test_sequences_wait_for_a_slot_in_order(cache: CompileCache) -> None:
    async def script(scheduler: SequenceScheduler) -> list[int]:
        done: list[int] = []

        async def whole(sequence: int) -> None:
            answers = await asyncio.gather(*(send(scheduler, sequence, 1, flags) for flags in ("S", "", "E")))
            assert [answer[0] for answer in answers] == [1, 2, 3]
            done.append(sequence)

        await asyncio.gather(*(whole(sequence) for sequence in range(1, 7)))
        return done

    with created(cache, max_sequences=1) as scheduler:
        assert asyncio.run(script(scheduler)) == [1, 2, 3, 4, 5, 6]


def test_an_idle_sequence_ends_and_frees_its_slot(cache: CompileCache) -> None:
    async def script(scheduler: SequenceScheduler) -> None:
        await send(scheduler, 1, 1, "S")
        # waits for the slot of the first, which ends without another request
        assert (await send(scheduler, 2, 5, "S"))[0] == 5
        assert "must specify the START flag" in (await failure(send(scheduler, 1, 1)))[1]

    with created(cache, max_sequences=1, max_idle_s=0.2) as scheduler:
        asyncio.run(script(scheduler))


def test_a_waiting_sequence_is_rejected_after_its_timeout(cache: CompileCache) -> None:
    async def script(scheduler: SequenceScheduler) -> None:
        await send(scheduler, 1, 1, "S")
        waiting = [send(scheduler, 2, 1, "S", timeout_s=0.05), send(scheduler, 2, 1)]
        outcomes = await asyncio.gather(*(failure(each) for each in waiting))
        assert outcomes == [(503, "timeout of the corresponding sequence has been expired")] * 2
        assert "must specify the START flag" in (await failure(send(scheduler, 2, 1)))[1]
        assert (await send(scheduler, 1, 1, "E"))[0] == 2

    with created(cache, max_sequences=1) as scheduler:
        asyncio.run(script(scheduler))
        assert scheduler.statistics.to_json("m", "1")["inference_stats"]["fail"]["count"] == 2


def test_ten_thousand_sequences_that_never_end_are_bounded(scheduler: SequenceScheduler) -> None:
    async def script() -> None:
        for sequence in (1, 2):
            await send(scheduler, sequence, 1, "S")
        waiting = [asyncio.create_task(send(scheduler, 100 + i, 1, "S")) for i in range(10_000)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        failed = [each for each in waiting if each.done()]
        assert len(failed) == 10_000 - 20
        assert {(await failure(each))[0] for each in failed} == {429}
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        # those that waited are forgotten
        assert (await send(scheduler, 1, 1, "E"))[0] == 2
        assert (await send(scheduler, 3, 1, "SE"))[0] == 1

    asyncio.run(script())


def test_closing_fails_what_waits_and_completes_what_has_a_slot(cache: CompileCache) -> None:
    async def script(scheduler: SequenceScheduler) -> None:
        first = asyncio.create_task(send(scheduler, 1, 1, "S"))
        waiting = asyncio.create_task(send(scheduler, 2, 1, "S"))
        await asyncio.sleep(0)
        await asyncio.to_thread(scheduler.close)
        assert (await first)[0] == 1
        assert await failure(waiting) == await failure(send(scheduler, 1, 1))

    with created(cache, max_sequences=1) as scheduler:
        asyncio.run(script(scheduler))


def test_several_rows_are_rejected(cache: CompileCache) -> None:
    with created(cache, batches=True) as scheduler:
        request = scheduler.run({"x": np.zeros((2, 1), np.float32)}, SequenceStep(1, start=True))
        text = "must specify batch-size 1 due to requirements of sequence batcher"
        assert asyncio.run(failure(request)) == (400, f"inference request to model 'm' {text}")
