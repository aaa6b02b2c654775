"""Runs requests whose tensors are in shared memory.

Large tensors of modules are copied once: inputs from their regions to the guest's memory, and outputs from there to
their regions, by the thread that runs the guest. All others are copied before the model runs, and after it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np

from ..codec import OutputRequest, ParsedRequest, payload_bytes
from ..memory_budget import MemoryBudget
from ..request_errors import memory_exhausted, request_too_large
from ..scheduling import Outputs
from ..served_model import ServedModel
from .output_transfer import OutputTransfer
from .region_registry import RegionRegistry
from .region_tensors import Regions, read_inputs, view_inputs, write_outputs

INLINE_BYTES = 1 << 20
"""Up to this size, tensors are copied on the event loop: switching to a thread takes longer."""
InThread = Callable[..., Awaitable[Any]]


class RegionRunner:
    """Runs requests with tensors in the regions of `registry`. A request has at most `max_request_bytes`, including its
    inputs in shared memory; copies of these count against `budget`."""

    def __init__(self, registry: RegionRegistry, budget: MemoryBudget, max_request_bytes: int) -> None:
        self._registry, self._budget, self._max_bytes = registry, budget, max_request_bytes

    async def run(self, model: ServedModel, request: ParsedRequest, in_thread: InThread) -> Outputs:
        """The outputs of `model`. Those that are requested in shared memory are written there; the arrays in their
        place can lack data. Large copies are made by `in_thread`. Raises RequestError."""
        outputs = [each for each in request.outputs if each.place is not None]
        inputs = request.region_inputs.values()
        places = [*(each.place for each in inputs), *(each.place for each in outputs if each.place is not None)]
        with self._registry.use(places) as regions:
            if sum(each.place.size for each in inputs) + request.body_bytes > self._max_bytes:
                raise request_too_large(self._max_bytes)
            run = self._run_in_place if model.copies_inputs_once else self._run_on_copies
            return await run(model, request, outputs, regions, in_thread)

    async def _run_in_place(
        self,
        model: ServedModel,
        request: ParsedRequest,
        outputs: Sequence[OutputRequest],
        regions: Regions,
        in_thread: InThread,
    ) -> Outputs:
        arrays, views = view_inputs(request.region_inputs, regions)
        transfer = OutputTransfer(outputs, list(views.values()), regions)
        copied = {name: each for name, each in request.region_inputs.items() if name not in views}
        request = dataclasses.replace(
            request, inputs=request.inputs | arrays, region_inputs=copied, take_outputs=transfer.take
        )
        try:
            results = await self._run_on_copies(model, request, (), regions, in_thread)
            # a model of another kind may have replaced this one
            return results if transfer.has_ended else transfer.take(results)
        finally:
            transfer.end()

    async def _run_on_copies(
        self,
        model: ServedModel,
        request: ParsedRequest,
        outputs: Sequence[OutputRequest],
        regions: Regions,
        in_thread: InThread,
    ) -> Outputs:
        """Run the request with copies of its inputs in regions, and write `outputs`."""
        inputs = request.region_inputs
        size = sum(each.place.size for each in inputs.values())
        with self._budget.share() as share:
            if not share.reserve(size):
                raise memory_exhausted()
            if size <= INLINE_BYTES:
                arrays = read_inputs(inputs, regions)
            else:
                arrays = await in_thread(read_inputs, inputs, regions)
            results = await model.run(dataclasses.replace(request, inputs=request.inputs | arrays))
        if _is_inline([results[each.name] for each in outputs]):
            write_outputs(outputs, results, regions)
        else:
            await in_thread(write_outputs, outputs, results, regions)
        return results


def _is_inline(arrays: Sequence[np.ndarray]) -> bool:
    # `nbytes` first: it does not look at the elements of BYTES tensors
    return sum(array.nbytes for array in arrays) <= INLINE_BYTES and payload_bytes(arrays) <= INLINE_BYTES
