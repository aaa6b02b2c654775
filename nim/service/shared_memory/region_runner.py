"""Runs requests whose tensors are in shared memory: inputs are copied from the regions once, before the model runs, and
outputs are copied to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..codec import OutputRequest, ParsedRequest, payload_bytes
from ..codec.parsed_request import RegionInput
from ..codec.raw_tensors import check_raw_size, from_raw, raw_view
from ..memory_budget import MemoryBudget
from ..request_errors import RequestError, memory_exhausted, request_too_large
from ..scheduling import Outputs
from ..served_model import ServedModel
from .region import Region
from .region_registry import RegionRegistry

INLINE_BYTES = 1 << 20
"""Up to this size, tensors are copied on the event loop: switching to a thread takes longer."""
Regions = Mapping[str, Region]
InThread = Callable[..., Awaitable[Any]]


class RegionRunner:
    """Runs requests with tensors in the regions of `registry`. A request has at most `max_request_bytes`, including its
    inputs in shared memory; their copies count against `budget`."""

    def __init__(self, registry: RegionRegistry, budget: MemoryBudget, max_request_bytes: int) -> None:
        self._registry, self._budget, self._max_bytes = registry, budget, max_request_bytes

    async def run(self, model: ServedModel, request: ParsedRequest, in_thread: InThread) -> Outputs:
        """The outputs of `model`. Those that are requested in shared memory are also written there. Large copies are
        made by `in_thread`. Raises RequestError."""
        inputs, outputs = request.region_inputs, [each for each in request.outputs if each.place is not None]
        places = [each.place for each in inputs.values()] + [each.place for each in outputs if each.place is not None]
        with self._registry.use(places) as regions:
            size = sum(each.place.size for each in inputs.values())
            if size + request.body_bytes > self._max_bytes:
                raise request_too_large(self._max_bytes)
            with self._budget.share() as share:
                if not share.reserve(size):
                    raise memory_exhausted()
                if size <= INLINE_BYTES:
                    arrays = read_inputs(inputs, regions)
                else:
                    arrays = await in_thread(read_inputs, inputs, regions)
                results = await model.run(dataclasses.replace(request, inputs={**request.inputs, **arrays}))
            if _is_inline([results[each.name] for each in outputs]):
                write_outputs(outputs, results, regions)
            else:
                await in_thread(write_outputs, outputs, results, regions)
            return results


def _is_inline(arrays: Sequence[np.ndarray]) -> bool:
    # `nbytes` first: it does not look at the elements of BYTES tensors
    return sum(array.nbytes for array in arrays) <= INLINE_BYTES and payload_bytes(arrays) <= INLINE_BYTES


def read_inputs(inputs: Mapping[str, RegionInput], regions: Regions) -> dict[str, np.ndarray]:
    """The arrays by name, copied from the regions. Raises RequestError with status 400 if data do not match the shape,
    or an object has become smaller than its region."""
    arrays = {}
    for name, each in inputs.items():
        check_raw_size(each.spec, each.shape, each.place.size)
        data = np.empty(each.place.size, np.uint8).data
        regions[each.place.region].read_into(data, each.place)
        arrays[name] = from_raw(each.spec, each.shape, data)
    return arrays


def write_outputs(outputs: Iterable[OutputRequest], results: Outputs, regions: Regions) -> None:
    """Write `outputs`, which are all in shared memory, to their regions. Raises RequestError: 500 before anything is
    written if one does not fit into its place, 400 if an object has become smaller than its region."""
    writes = []
    for each in outputs:
        data, place = raw_view(each.spec, results[each.name]), each.place
        assert place is not None, "it is in shared memory"
        if len(data) > place.size:
            text = f"shared memory size specified with the request for output '{each.name}' ({place.size} bytes)"
            text += f" should be at least {len(data)} bytes to hold the results"
            raise RequestError(500, "SharedMemoryError", text)
        writes.append((data, place))
    for data, place in writes:
        regions[place.region].write(data, place)
