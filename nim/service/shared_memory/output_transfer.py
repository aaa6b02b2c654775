"""The transfer of outputs from a guest's memory to shared memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from ..codec import OutputRequest
from ..scheduling import Outputs
from .region import RegionView
from .region_tensors import Regions, without_data, write_outputs


class OutputTransfer:
    """Writes `outputs` of one request to their regions in the thread that has run the guest.

    It does so once, and only until `end`: the regions can then be unregistered. `views` are those of the inputs.
    """

    def __init__(self, outputs: Iterable[OutputRequest], views: Iterable[RegionView], regions: Regions) -> None:
        self._outputs, self._views, self._regions = outputs, views, regions
        self._lock = threading.Lock()
        self.has_ended = False
        """Whether the outputs have been written, or will not be."""

    def take(self, results: Outputs) -> Outputs:
        """Write outputs among `results`, and return these, without data for those that were written. Raises
        RequestError: 400 before anything is written if an input was missing in its object when the guest ran, or as
        `write_outputs`."""
        with self._lock:
            if self.has_ended:  # the request has its response
                return results
            self.has_ended = True
            for view in self._views:
                view.check()
            write_outputs(self._outputs, results, self._regions)
        return results | {each.name: without_data(results[each.name]) for each in self._outputs}

    def end(self) -> None:
        """Write nothing from now on. A transfer that has begun is waited for."""
        with self._lock:
            self.has_ended = True
