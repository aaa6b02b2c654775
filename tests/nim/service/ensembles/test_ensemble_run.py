"""The steps of one request: their order, concurrency, memory, limits, errors and cancellation."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from typing import Any

import numpy as np
import pytest

from portalis.nim.service.ensembles.ensemble_run import MAX_CONCURRENT_STEPS
from portalis.nim.service.memory_budget import MemoryBudget
from portalis.nim.service.request_errors import RequestError, input_error
from tests.nim.service.test_ensemble_checks import ensemble, step

from .members import FunctionModel, asking, nested, run, same, started

X = np.array([1, 2, 3], np.float32)


def test_steps_without_dependency_run_concurrently_and_the_others_in_order() -> None:
    both, running = asyncio.Event(), list[str]()

    def meeting(name: str) -> Any:
        async def meet(a: np.ndarray) -> np.ndarray:
            running.append(name)
            if len(running) == 2:
                both.set()
            await asyncio.wait_for(both.wait(), 60)
            return a + 1

        return meet

    join = FunctionModel("j", lambda a, b: a + b, inputs="ab")
    models = [*(FunctionModel(name, meeting(name)) for name in "mn"), join]
    document = ensemble("e", "x", "r", step("j", "t u", "r"), step("m", "x", "t"), step("n", "x", "u"))
    assert run(started(models, document), x=X)["r"].tolist() == [4, 6, 8]


def test_only_the_steps_of_requested_outputs_run() -> None:
    models = [FunctionModel(name, same) for name in "mnp"]
    steps = step("m", "x", "t"), step("n", "t", "r"), step("p", "t", "s")
    model = started(models, ensemble("e", "x", "r s", *steps))
    assert set(run(model, "s", x=X)) == {"s"}
    assert [len(each.requests) for each in models] == [1, 0, 1]
    assert set(run(model, x=X)) == {"r", "s"}
    assert [len(each.requests) for each in models] == [2, 1, 2]
    assert [output.name for output in models[0].requests[0].outputs] == ["y"]


class Forgetful(list[Any]):
    """A list that keeps nothing."""

    def append(self, _: Any) -> None:
        pass


def test_a_tensor_is_freed_after_its_last_reader() -> None:
    arrays: list[weakref.ref[np.ndarray]] = []

    def double(a: np.ndarray) -> np.ndarray:
        array = a * 2
        arrays.append(weakref.ref(array))
        return array

    def check(a: np.ndarray) -> np.ndarray:
        gc.collect()
        assert arrays[0]() is None and arrays[1]() is a
        return a + 1

    models = [FunctionModel("m", double), FunctionModel("n", check)]
    models[0].requests = models[1].requests = Forgetful()
    document = ensemble("e", "x", "r", step("m", "x", "t"), step("m", "t", "u"), step("n", "u", "r"))
    assert run(started(models, document), x=X)["r"].tolist() == [5, 9, 13]
    gc.collect()
    assert all(each() is None for each in arrays)


def test_tensors_of_concurrent_steps_are_freed_after_their_last_reader() -> None:
    arrays: list[weakref.ref[np.ndarray]] = []

    def double(a: np.ndarray) -> np.ndarray:
        array = a * 2
        arrays.append(weakref.ref(array))
        return array

    async def check(a: np.ndarray) -> np.ndarray:
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()
        assert [each() for each in arrays] == [None, None]
        return a

    join = FunctionModel("j", lambda a, b: (a + b)[:1], inputs="ab")
    models = [FunctionModel("m", double), join, FunctionModel("n", check)]
    for each in models:
        each.requests = Forgetful()
    steps = step("m", "x", "t"), step("m", "x", "u"), step("j", "t u", "v"), step("n", "v", "r"), step("n", "v", "s")
    assert set(run(started(models, ensemble("e", "x", "r s", *steps)), x=X)) == {"r", "s"}


def test_a_hundred_steps_run_one_after_the_other() -> None:
    tensors = ["x", *(f"t{i}" for i in range(99)), "r"]
    steps = [step("m", one, other) for one, other in itertools.pairwise(tensors)]
    model = started([FunctionModel("m", lambda a: a + 1)], ensemble("e", "x", "r", *steps))
    assert run(model, x=X)["r"].tolist() == [101, 102, 103]


def test_a_wide_fan_out_runs_a_limited_number_of_steps_at_once() -> None:
    running = most = 0

    async def count(a: np.ndarray) -> np.ndarray:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return a

    names = [f"r{i}" for i in range(100)]
    document = ensemble("e", "x", " ".join(names), *(step("m", "x", name) for name in names))
    assert set(run(started([FunctionModel("m", count)], document), x=X)) == set(names)
    assert 1 < most <= MAX_CONCURRENT_STEPS


def test_an_error_names_the_ensemble_and_the_step_and_ends_the_other_steps() -> None:
    cancelled = []

    async def wait(a: np.ndarray) -> np.ndarray:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(a)
            raise
        return a

    async def fail(a: np.ndarray) -> np.ndarray:
        await asyncio.sleep(0)
        raise input_error("the input is bad")

    models = [FunctionModel("m", wait), FunctionModel("n", fail)]
    model = started(models, ensemble("e", "x", "r s", step("m", "x", "r"), step("n", "x", "s")))
    with pytest.raises(RequestError, match=r"^in ensemble 'e', the input is bad; in step 1, model 'n'$") as caught:
        run(model, x=X)
    assert caught.value.status == 400 and caught.value.kind == "InputError" and len(cancelled) == 1
    text = r"^in ensemble 'e1', in ensemble 'e0', the input is bad; in step 0, model 'n'$"
    with pytest.raises(RequestError, match=text):
        run(nested(2, FunctionModel("n", fail)), a=X)
    failures = model.statistics_document()["inference_stats"]
    assert failures["fail"]["count"] == 1 and failures["success"]["count"] == 0


@pytest.mark.parametrize("width", [1, 3])
def test_cancellation_reaches_the_running_steps_and_no_further_step_starts(width: int) -> None:
    cancelled: list[np.ndarray] = []

    async def cancel() -> None:
        all_run, running = asyncio.Event(), list[np.ndarray]()

        async def wait(a: np.ndarray) -> np.ndarray:
            running.append(a)
            if len(running) == width:
                all_run.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(a)
                raise
            return a

        steps = [each for i in range(width) for each in (step("m", "x", f"t{i}"), step("n", f"t{i}", f"r{i}"))]
        models = [FunctionModel("m", wait), FunctionModel("n", same)]
        model = started(models, ensemble("e", "x", " ".join(f"r{i}" for i in range(width)), *steps))
        task = asyncio.create_task(model.run(asking(model, x=X)))
        await all_run.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1 and not models[1].requests

    asyncio.run(cancel())
    assert len(cancelled) == width


def test_a_step_gets_the_time_that_is_left() -> None:
    async def pause(a: np.ndarray) -> np.ndarray:
        await asyncio.sleep(0.05)
        return a

    models = [FunctionModel("m", pause), FunctionModel("n", same)]
    model = started(models, ensemble("e", "x", "r", step("m", "x", "t"), step("n", "t", "r")))
    run(model, timeout_s=60, x=X)
    first, second = (each.requests[0].timeout_s for each in models)
    assert first is not None and second is not None and 0 < second <= first - 0.05 < 60
    with pytest.raises(RequestError, match=r"^in ensemble 'e', the request timed out after 0\.01 s.*step 1") as caught:
        run(model, timeout_s=0.01, x=X)
    assert caught.value.status == 504 and len(models[1].requests) == 1


def test_the_tensors_of_steps_are_bounded() -> None:
    steps = ensemble("e", "x", "r", step("m", "x", "t"), step("n", "t", "r"))
    models = [FunctionModel("m", lambda a: np.zeros(1 << 20, np.float32)), FunctionModel("n", lambda a: a[:1])]
    budget = MemoryBudget(1 << 20)
    model = started(models, steps, budget=budget)
    with budget.share() as other:
        other.reserve(1 << 20)
        with pytest.raises(RequestError, match="the whole memory budget.*step 0") as caught:
            run(model, x=X)
    assert caught.value.status == 503 and budget.used == 0
    with pytest.raises(RequestError, match=r"outputs have 4194304 bytes, more than the 1048576.*step 0") as caught:
        run(started(models, steps, max_response_bytes=1 << 20), x=X)
    assert caught.value.status == 500
    model = started(models, steps, budget=(budget := MemoryBudget(1 << 30)))
    assert run(model, x=X)["r"].tolist() == [0] and budget.used == 0


def test_bytes_tensors_are_counted_by_element() -> None:
    def grow(a: np.ndarray) -> np.ndarray:
        return np.array([b"x" * 1000] * 20_000, dtype=object)

    models = [FunctionModel("m", grow, dtype="BYTES"), FunctionModel("n", lambda a: a[:1], dtype="BYTES")]
    document = ensemble("e", "x", "r", step("m", "x", "t"), step("n", "t", "r"))
    for tensor in (*document["inputs"], *document["outputs"]):
        tensor["data_type"] = "STRING"
    with pytest.raises(RequestError, match="have 20080000 bytes"):
        run(started(models, document, max_response_bytes=1 << 20), x=np.array([b"a"], dtype=object))
