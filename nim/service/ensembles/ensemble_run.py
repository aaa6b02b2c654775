"""One request to an ensemble: runs the steps, each as soon as its inputs exist, and frees each tensor after its last
reader."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

import anyio.to_thread
import numpy as np

from ..codec import SMALL_BYTES, ParsedRequest, payload_bytes
from ..codec.core_faults import describe_rejected
from ..codec.scalars import served_dims
from ..memory_budget import MemoryShare
from ..request_errors import RequestError, memory_exhausted, response_too_large
from ..scheduling import Outputs
from .ensemble_plan import EnsemblePlan, PlannedStep
from .ensemble_shapes import fit_batch

MAX_CONCURRENT_STEPS = 64
"""Maximum number of steps of a request that run at the same time, so that a single request does not fill queues."""


class EnsembleRun:
    """A request in progress. `inputs` are the request's arrays as the steps read them; `share` is reserved for the
    tensors that the steps produce, and each step may produce at most `max_bytes`."""

    def __init__(
        self,
        plan: EnsemblePlan,
        request: ParsedRequest,
        inputs: Mapping[str, np.ndarray],
        share: MemoryShare,
        max_bytes: int,
    ) -> None:
        self._plan, self._request, self._share, self._max_bytes = plan, request, share, max_bytes
        self._deadline = None if request.timeout_s is None else time.perf_counter() + request.timeout_s
        self._selection = plan.select(frozenset(output.name for output in request.outputs))
        self._tensors: dict[str, np.ndarray] = dict(inputs)
        self._sizes: dict[str, int] = {}
        self._readers = self._selection.readers.copy()
        self._waits = dict(self._selection.waits)

    async def outputs(self) -> Outputs:
        """The requested outputs, as the steps wrote them. Raises RequestError, which names the step."""
        ready, running = list(self._selection.first), dict[asyncio.Task[Outputs], PlannedStep]()
        try:
            while ready or running:
                if len(ready) == 1 and not running:  # without a task, as in a chain of steps
                    step = ready.pop()
                    ready += await self._complete(step, await self._call(step))
                    continue
                while ready and len(running) < MAX_CONCURRENT_STEPS:
                    step = ready.pop(0)
                    running[asyncio.create_task(self._call(step))] = step
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=lambda each: running[each].index):
                    ready += await self._complete(running.pop(task), task.result())
                del done, task  # which have the arrays
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.gather(*running, return_exceptions=True)
        return {name: self._tensors[name] for name in self._requested() if name in self._tensors}

    def _requested(self) -> list[str]:
        return [output.name for output in self._request.outputs]

    async def _call(self, step: PlannedStep) -> Outputs:
        """The outputs of the step's model."""
        inputs = {}
        for each in step.inputs:
            array = self._tensors.get(each.tensor)
            if array is not None:
                batched = each.tensor in self._plan.batched
                dims = served_dims(each.spec)
                inputs[each.spec.name] = fit_batch(array, dims, batched=batched, expects_batch=step.batches)
        try:
            return await step.model.run(self._step_request(step, inputs))
        except RequestError as error:
            rejected = replace(self._request, inputs=inputs, region_inputs={})
            found = describe_rejected(error, step.model.interface, rejected)
            found.insert_model_name(step.model.name)
            raise _at_step(step, found) from None

    def _step_request(self, step: PlannedStep, inputs: dict[str, np.ndarray]) -> ParsedRequest:
        timeout_s = None
        if self._deadline is not None:
            timeout_s = self._deadline - time.perf_counter()
            if timeout_s <= 0:
                text = f"the request timed out after {self._request.timeout_s:g} s, before the step was run"
                raise RequestError(504, "Cancelled", text)
        return replace(self._request, inputs=inputs, outputs=step.requested, timeout_s=timeout_s)

    async def _complete(self, step: PlannedStep, outputs: Outputs) -> list[PlannedStep]:
        """Keep the outputs that have readers, and free inputs without further readers. Returns the steps that can start
        now."""
        for each in step.outputs:
            array = outputs.get(each.spec.name)
            if array is not None and self._readers[each.tensor]:
                self._tensors[each.tensor] = array
                self._sizes[each.tensor] = await _size(array)
        try:
            self._check_memory(step)
        except RequestError as error:
            raise _at_step(step, error) from None
        for tensor in {each.tensor for each in step.inputs}:
            self._release(tensor)
        started = []
        for follower in self._selection.followers[step.index]:
            self._waits[follower.index] -= 1
            if not self._waits[follower.index]:
                started.append(follower)
        return started

    def _check_memory(self, step: PlannedStep) -> None:
        size = sum(self._sizes.get(each.tensor, 0) for each in step.outputs)
        if size > self._max_bytes:
            raise response_too_large(size, self._max_bytes)
        if not self._share.reserve(sum(self._sizes.values())):
            raise memory_exhausted()

    def _release(self, tensor: str) -> None:
        self._readers[tensor] -= 1
        if not self._readers[tensor]:
            self._tensors.pop(tensor, None)
            self._sizes.pop(tensor, None)


async def _size(array: np.ndarray) -> int:
    # BYTES arrays are counted by element
    if array.dtype != object or array.nbytes <= SMALL_BYTES:
        return payload_bytes([array])
    return await anyio.to_thread.run_sync(payload_bytes, [array])


def _at_step(step: PlannedStep, error: RequestError) -> RequestError:
    """`error` with the step; an ensemble as the step's model has named its own step already."""
    if error.message.startswith("in ensemble '"):
        return error
    return RequestError(error.status, error.kind, f"{error.message}; in step {step.index}, model '{step.model.name}'")
