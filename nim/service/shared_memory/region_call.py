"""One request with tensors in shared memory, from the check of its places to the last output."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..codec import OutputRequest, ParsedRequest, payload_bytes
from ..scheduling import Outputs
from .output_transfer import OutputTransfer
from .region_tensors import Regions, read_inputs, view_inputs

INLINE_BYTES = 1 << 20
"""Up to this size, tensors are copied on the event loop: switching to a thread takes longer."""


class RegionCall:
    """A request whose regions are `regions`, which must not be unregistered before `end`.

    With `in_place`, the model reads inputs where they are if that is possible, and writes outputs itself, through
    `take_outputs` of the request.
    """

    def __init__(
        self, request: ParsedRequest, outputs: Sequence[OutputRequest], regions: Regions, *, in_place: bool
    ) -> None:
        self._outputs, self._regions = outputs, regions
        inputs = request.region_inputs
        arrays, views = view_inputs(inputs, regions) if in_place else ({}, {})
        self._transfer = OutputTransfer(outputs, list(views.values()), regions)
        copied = {name: each for name, each in inputs.items() if name not in views} if len(views) < len(inputs) else {}
        self._request = dataclasses.replace(
            request,
            inputs=request.inputs | arrays,
            region_inputs=copied,
            take_outputs=self._transfer.take if in_place else None,
        )
        self.copied_bytes = sum(each.place.size for each in copied.values())
        """The size of the inputs that `prepared` copies."""

    @property
    def reads_quickly(self) -> bool:
        """Whether `prepared` takes so little time that it can run on the event loop."""
        return self.copied_bytes <= INLINE_BYTES

    def prepared(self) -> ParsedRequest:
        """The request for the model, with all inputs. Raises RequestError as `read_inputs`."""
        request = self._request
        if not request.region_inputs:
            return request
        return dataclasses.replace(
            request, inputs=request.inputs | read_inputs(request.region_inputs, self._regions), region_inputs={}
        )

    def writes_quickly(self, results: Outputs) -> bool:
        """Whether `finish` takes so little time that it can run on the event loop, if the model returned `results`."""
        if self._transfer.has_ended:
            return True
        arrays = [results[each.name] for each in self._outputs]
        # `nbytes` first: it does not look at the elements of BYTES tensors
        return sum(array.nbytes for array in arrays) <= INLINE_BYTES and payload_bytes(arrays) <= INLINE_BYTES

    def finish(self, results: Outputs) -> Outputs:
        """Write outputs among `results` that the model did not write. Returns the outputs for the response, in which
        those in regions can lack data. Raises RequestError as `write_outputs`."""
        if not self._transfer.has_ended:
            self._transfer.take(results)
        return results

    def end(self) -> None:
        """Access the regions no more."""
        self._transfer.end()
