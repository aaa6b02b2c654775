"""Tensors in regions: inputs as copies or views, and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..codec import OutputRequest
from ..codec.parsed_request import RegionInput
from ..codec.raw_tensors import check_raw_size, from_raw, raw_view
from ..request_errors import RequestError
from ..scheduling import Outputs
from .region import Region, RegionView

Regions = Mapping[str, Region]
_CHECKED = "bO"  # kinds of dtypes whose elements are checked: they must not change after that
_ZEROS = np.zeros(16, np.uint8)


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


def view_inputs(
    inputs: Mapping[str, RegionInput], regions: Regions
) -> tuple[dict[str, np.ndarray], dict[str, RegionView]]:
    """The arrays by name of the inputs that are large and can have any bytes, without a copy, and their views of the
    regions. Raises RequestError as `read_inputs`."""
    arrays, views = {}, {}
    for name, each in inputs.items():
        sizes = check_raw_size(each.spec, each.shape, each.place.size)
        dtype, view = each.spec.dtype.numpy, None
        if dtype.kind not in _CHECKED:
            view = regions[each.place.region].view(each.place)
        if view is None:
            continue
        array = np.frombuffer(view.array, dtype).reshape(sizes)
        if array.flags.aligned:
            view.check()
            arrays[name], views[name] = array, view
    return arrays, views


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


def without_data(array: np.ndarray) -> np.ndarray:
    """An array with the shape and dtype of `array`, and no memory for its elements. BYTES are returned as they are."""
    if array.dtype.hasobject:
        return array
    return np.ndarray(array.shape, array.dtype, _ZEROS, strides=(0,) * array.ndim)
