"""Requests with tensors in regions, with a model in place of a module: when data are read and written, and limits."""

from __future__ import annotations

import asyncio
import mmap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from portalis.backend.interface.dtypes import DTYPES
from portalis.backend.interface.interface import Interface, TensorSpec
from portalis.nim.service.codec import OutputRequest, ParsedRequest
from portalis.nim.service.codec.parsed_request import RegionInput, RegionSlice
from portalis.nim.service.memory_budget import FREE_BYTES, MemoryBudget
from portalis.nim.service.request_errors import RequestError
from portalis.nim.service.served_model import ServedModel
from portalis.nim.service.shared_memory import RegionRegistry, RegionRunner
from portalis.nim.service.shared_memory.output_transfer import OutputTransfer
from portalis.nim.service.shared_memory.region import MAPPED_BYTES
from portalis.nim.service.shared_memory.region_call import INLINE_BYTES
from portalis.nim.service.shared_memory.region_runner import TRIED_BYTES

from .shared_objects import SharedObject, shared_object

MAX_BYTES = 4 << 20
X, Y = (TensorSpec(name, DTYPES["UINT8"], (-1,)) for name in "xy")


class Echo(ServedModel):
    """A model that returns `x` as `y`, after a function was called."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__("echo", "1", {})
        self._meanwhile = meanwhile

    @property
    def interface(self) -> Interface:
        raise AssertionError("no request is parsed")

    async def run(self, request: ParsedRequest) -> dict[str, np.ndarray]:
        self._meanwhile()
        return {"y": request.inputs["x"]}

    def statistics_document(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass

    def _start(self) -> None:
        pass


class InPlace(Echo):
    """The same, as a module in the runtime: outputs are taken before the next call."""

    copies_inputs_once = True

    async def run(self, request: ParsedRequest) -> dict[str, np.ndarray]:
        outputs = await super().run(request)
        assert request.take_outputs is not None
        return request.take_outputs({"y": outputs["y"].copy()})


@pytest.fixture
def target() -> Iterator[SharedObject]:
    with shared_object(2 * MAX_BYTES) as found:
        yield found


@pytest.fixture
def budget() -> MemoryBudget:
    return MemoryBudget(MAX_BYTES)


@pytest.fixture
def runner(target: SharedObject, budget: MemoryBudget) -> Iterator[RegionRunner]:
    registry = RegionRegistry(2)
    registry.register("r", target.key, 0, 2 * MAX_BYTES)
    yield RegionRunner(registry, budget, MAX_BYTES)
    registry.unregister("r")  # no request uses it any more
    registry.close()


def request(size: int, output_size: int) -> ParsedRequest:
    x = RegionInput(X, (size,), RegionSlice("r", 0, size))
    output = OutputRequest(Y, place=RegionSlice("r", MAX_BYTES, output_size))
    return ParsedRequest(None, {}, [output], region_inputs={"x": x})


def run(
    runner: RegionRunner,
    size: int,
    meanwhile: Callable[[], None] = lambda: None,
    output_size: int = 0,
    kind: type[Echo] = Echo,
) -> Any:
    return asyncio.run(runner.run(kind(meanwhile), request(size, output_size or size), asyncio.to_thread))


@pytest.mark.parametrize("size", [1, INLINE_BYTES, INLINE_BYTES + 1, MAX_BYTES])
def test_inputs_are_read_once_before_the_model_runs(runner: RegionRunner, target: SharedObject, size: int) -> None:
    data = np.random.default_rng(0).bytes(size)
    target.write(data)
    outputs = run(runner, size, lambda: target.write(bytes(size)))
    assert outputs["y"].tobytes() == data
    assert target.read()[MAX_BYTES : MAX_BYTES + size] == data


def test_an_output_that_does_not_fit_is_not_written(runner: RegionRunner, target: SharedObject) -> None:
    target.write(b"x" * 8)
    with pytest.raises(RequestError, match=r"output 'y' \(7 bytes\) should be at least 8 bytes") as caught:
        run(runner, 8, output_size=7)
    assert caught.value.status == 500 and target.read()[8:] == bytes(2 * MAX_BYTES - 8)


def test_an_object_that_becomes_smaller_meanwhile_stays_so(runner: RegionRunner, target: SharedObject) -> None:
    with pytest.raises(RequestError, match="has become smaller"):
        run(runner, 8, lambda: target.resize(MAX_BYTES + 7))
    assert target.path.stat().st_size == MAX_BYTES + 7
    target.resize(7)
    with pytest.raises(RequestError, match="has become smaller"):
        run(runner, 8, lambda: pytest.fail("the model must not run"))


@pytest.mark.parametrize("size", [1, MAPPED_BYTES, MAX_BYTES])
def test_tensors_of_modules_are_copied_without_a_buffer(
    runner: RegionRunner, target: SharedObject, budget: MemoryBudget, size: int
) -> None:
    data, used = np.random.default_rng(0).bytes(size), []
    target.write(data)
    outputs = run(runner, size, lambda: used.append(budget.used), kind=InPlace)
    assert target.read()[MAX_BYTES : MAX_BYTES + size] == data
    assert outputs["y"].shape == (size,) and outputs["y"].dtype == np.uint8  # the response has no data
    assert used == [0]


def test_a_thread_that_waits_makes_the_copies(runner: RegionRunner, target: SharedObject) -> None:
    class Blocking(InPlace):
        def run_blocking(self, request: ParsedRequest, loop: object, on_wait: object) -> dict[str, np.ndarray]:
            return asyncio.run(self.run(request))

    for size in (8, MAX_BYTES):
        data = np.random.default_rng(size).bytes(size)
        target.write(data)
        outputs = runner.run_blocking(Blocking(lambda: None), request(size, size), None, None)  # type: ignore[arg-type]
        assert outputs["y"].shape == (size,) and target.read()[MAX_BYTES : MAX_BYTES + size] == data


def test_requests_are_tried_without_waiting(runner: RegionRunner, target: SharedObject) -> None:
    class Idle(InPlace):
        def try_run(self, request: ParsedRequest) -> dict[str, np.ndarray] | None:
            return asyncio.run(self.run(request))

    class Busy(Idle):
        def try_run(self, request: ParsedRequest) -> None:
            return None

    for size in (8, MAPPED_BYTES):
        data = np.random.default_rng(size).bytes(size)
        target.write(data)
        assert runner.try_run(Busy(lambda: None), request(size, size)) is None
        assert runner.try_run(Echo(lambda: pytest.fail("it waits")), request(size, size)) is None
        outputs = runner.try_run(Idle(lambda: None), request(size, size))
        assert outputs is not None and outputs["y"].shape == (size,)
        assert target.read()[MAX_BYTES : MAX_BYTES + size] == data
    large = request(TRIED_BYTES + 1, TRIED_BYTES + 1)
    assert runner.try_run(Idle(lambda: pytest.fail("it is large")), large) is None
    with pytest.raises(RequestError, match="should be at least 8 bytes"):
        runner.try_run(Idle(lambda: None), request(8, 7))


@pytest.mark.parametrize("left", [0, mmap.PAGESIZE, MAX_BYTES - 1])
def test_an_input_that_is_cut_while_it_is_read_is_an_error(
    runner: RegionRunner, target: SharedObject, left: int
) -> None:
    target.write(bytes(range(256)) * (MAX_BYTES // 256))
    with pytest.raises(RequestError, match="has become smaller"):
        run(runner, MAX_BYTES, lambda: target.resize(left), kind=InPlace)
    assert target.path.stat().st_size == left
    with pytest.raises(RequestError, match="has become smaller"):
        run(runner, MAX_BYTES, lambda: pytest.fail("the model must not run"), kind=InPlace)
    target.resize(2 * MAX_BYTES)
    assert not any(target.read()[MAX_BYTES:])  # nothing was written
    run(runner, MAX_BYTES, kind=InPlace)


def test_an_object_that_was_smaller_for_a_time_is_an_error(runner: RegionRunner, target: SharedObject) -> None:
    class Cut(InPlace):
        async def run(self, request: ParsedRequest) -> dict[str, np.ndarray]:
            target.resize(MAX_BYTES // 2)
            assert not request.inputs["x"][-1]  # an ordinary mapping would end the process here
            target.resize(2 * MAX_BYTES)
            return await super().run(request)

    target.write(b"x" * MAX_BYTES)
    with pytest.raises(RequestError, match="smaller for a time") as caught:
        run(runner, MAX_BYTES, kind=Cut)
    assert caught.value.status == 500 and not any(target.read()[MAX_BYTES:])
    target.write(b"y" * MAX_BYTES)
    run(runner, MAX_BYTES, kind=InPlace)
    assert target.read()[MAX_BYTES:] == b"y" * MAX_BYTES


def test_outputs_are_written_once_and_not_after_the_request(runner: RegionRunner, target: SharedObject) -> None:
    transfers: list[Callable[[Any], Any]] = []

    class Late(InPlace):
        async def run(self, request: ParsedRequest) -> dict[str, np.ndarray]:
            assert request.take_outputs is not None
            transfers.append(request.take_outputs)
            return {"y": request.inputs["x"]} if len(transfers) == 1 else await super().run(request)

    zeros, ones = {"y": np.zeros(MAPPED_BYTES, np.uint8)}, {"y": np.ones(MAPPED_BYTES, np.uint8)}
    for _ in range(2):
        run(runner, MAPPED_BYTES, kind=Late)
        assert transfers[-1](ones) is ones and not any(target.read())
    with pytest.raises(ZeroDivisionError):
        run(runner, MAPPED_BYTES, lambda: 1 / 0, kind=Late)  # type: ignore[arg-type]
    assert transfers[-1](zeros) is zeros


def test_outputs_of_a_model_that_does_not_hand_them_over_are_written(
    runner: RegionRunner, target: SharedObject
) -> None:
    class Replaced(Echo):
        copies_inputs_once = True  # its successor does not

    target.write(b"x" * MAPPED_BYTES)
    run(runner, MAPPED_BYTES, kind=Replaced)
    assert target.read()[MAX_BYTES:][:MAPPED_BYTES] == b"x" * MAPPED_BYTES


def test_the_end_of_a_request_waits_for_a_transfer() -> None:
    began, finish, ended = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def check(self) -> None:
            began.set()
            assert finish.wait(60)

    transfer = OutputTransfer([], [Slow()], {})  # type: ignore[list-item]

    def end() -> None:
        transfer.end()
        ended.set()

    threads = [threading.Thread(target=transfer.take, args=({},)), threading.Thread(target=end)]
    threads[0].start()
    assert began.wait(60)
    threads[1].start()
    assert not ended.wait(0.05)
    finish.set()
    for thread in threads:
        thread.join()
    assert ended.is_set()


def test_a_request_with_its_regions_is_limited(runner: RegionRunner) -> None:
    with pytest.raises(RequestError) as caught:
        run(runner, MAX_BYTES + 1, lambda: pytest.fail("the model must not run"), output_size=1)
    assert caught.value.status == 413


def test_copies_count_against_the_memory_budget(runner: RegionRunner, budget: MemoryBudget) -> None:
    used = []
    run(runner, MAX_BYTES, lambda: used.append(budget.used))
    assert used == [MAX_BYTES - FREE_BYTES] and budget.used == 0
    with budget.share() as other:
        assert other.reserve(MAX_BYTES)
        with pytest.raises(RequestError) as caught:
            run(runner, MAX_BYTES, lambda: pytest.fail("the model must not run"))
        assert caught.value.status == 503
        run(runner, FREE_BYTES)


def test_a_size_that_does_not_match_the_shape_is_rejected_before_it_is_read(runner: RegionRunner) -> None:
    x = RegionInput(X, (3,), RegionSlice("r", 0, MAX_BYTES))
    with pytest.raises(RequestError, match=r"expected 3 bytes of data for shape \[3\]"):
        asyncio.run(
            runner.run(Echo(pytest.fail), ParsedRequest(None, {}, [], region_inputs={"x": x}), asyncio.to_thread)
        )
