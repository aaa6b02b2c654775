"""Runs requests whose tensors are in shared memory.

Large tensors of modules are copied once: inputs from their regions to the guest's memory, and outputs from there to
their regions, by the thread that runs the guest. All others are copied before the model runs, and after it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from ..codec import ParsedRequest
from ..loop_calls import OnWait
from ..memory_budget import MemoryBudget
from ..request_errors import memory_exhausted, request_too_large
from ..scheduling import Outputs
from ..served_model import ServedModel
from .region_call import RegionCall
from .region_registry import RegionRegistry

TRIED_BYTES = 2 << 20
"""Maximum size of inputs that `try_run` reads."""
InThread = Callable[..., Awaitable[Any]]


class RegionRunner:
    """Runs requests with tensors in the regions of `registry`. A request has at most `max_request_bytes`, including its
    inputs in shared memory; copies of these count against `budget`."""

    def __init__(self, registry: RegionRegistry, budget: MemoryBudget, max_request_bytes: int) -> None:
        self._registry, self._budget, self._max_bytes = registry, budget, max_request_bytes

    async def run(self, model: ServedModel, request: ParsedRequest, in_thread: InThread) -> Outputs:
        """The outputs of `model`. Those that are requested in shared memory are written there; the arrays in their
        place can lack data. Large copies are made by `in_thread`. Raises RequestError."""
        with self._call(model, request) as call:
            prepared = call.prepared() if call.reads_quickly else await in_thread(call.prepared)
            results = await model.run(prepared)
            del prepared
            return call.finish(results) if call.writes_quickly(results) else await in_thread(call.finish, results)

    def run_blocking(
        self, model: ServedModel, request: ParsedRequest, loop: asyncio.AbstractEventLoop, on_wait: OnWait
    ) -> Outputs:
        """The same for the calling thread, which waits and makes the copies; see `ServedModel.run_blocking`."""
        with self._call(model, request) as call:
            return call.finish(model.run_blocking(call.prepared(), loop, on_wait))

    def try_run(self, model: ServedModel, request: ParsedRequest) -> Outputs | None:
        """The same, if the outputs can be computed in this thread in a fraction of a millisecond; None otherwise."""
        if (
            not model.copies_inputs_once
            or sum(each.place.size for each in request.region_inputs.values()) > TRIED_BYTES
        ):
            return None
        with self._call(model, request) as call:
            results = model.try_run(call.prepared())
            return None if results is None else call.finish(results)

    @contextlib.contextmanager
    def _call(self, model: ServedModel, request: ParsedRequest) -> Iterator[RegionCall]:
        outputs = [each for each in request.outputs if each.place is not None]
        inputs = request.region_inputs.values()
        places = [*(each.place for each in inputs), *(each.place for each in outputs if each.place is not None)]
        with self._registry.use(places) as regions, self._budget.share() as share:
            if sum(each.place.size for each in inputs) + request.body_bytes > self._max_bytes:
                raise request_too_large(self._max_bytes)
            call = RegionCall(request, outputs, regions, in_place=model.copies_inputs_once)
            try:
                if not share.reserve(call.copied_bytes):
                    raise memory_exhausted()
                yield call
            finally:
                call.end()
