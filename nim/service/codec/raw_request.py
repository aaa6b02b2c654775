"""Raw binary requests: the whole body is the data of the model's only input.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md#raw-binary-request
"""

from __future__ import annotations

import math

import numpy as np

from ..request_errors import MODEL_NAME, RequestError, input_error
from ..runtime_api import Interface, TensorSpec, object_array
from .binary_data import Body
from .parsed_request import OutputRequest, ParsedRequest
from .raw_tensors import from_raw


def parse_raw_request(interface: Interface, body: Body) -> ParsedRequest:
    """The request whose body is the data of the only input of `interface`: a batch of one row, in which a single
    dimension may be of variable size. All outputs are requested as raw bytes. The array is a view of `body`.

    Raises RequestError with status 400.
    """
    if len(interface.inputs) != 1:
        raise _fault(
            f"Raw request must only have 1 input (found 1) to be deduced but got {len(interface.inputs)} inputs in"
            f" '{MODEL_NAME}' model configuration"
        )
    spec = interface.inputs[0]
    outputs = [OutputRequest(output, binary=True) for output in interface.outputs]
    return ParsedRequest(None, {spec.name: _array(interface, spec, body)}, outputs, body_bytes=len(body))


def _array(interface: Interface, spec: TensorSpec, body: Body) -> np.ndarray:
    variable = [axis for axis, size in enumerate(spec.dims) if size == -1]
    if len(variable) > 1:
        raise _fault(
            f"The shape of the raw input '{spec.name}' can not be deduced because there are more than one"
            f" variable-sized dimension; its shape is {list(spec.dims)}"
        )
    batch = [1] * (interface.max_batch_size > 0)
    elements = math.prod(size for size in spec.dims if size != -1)
    if spec.dtype.name == "BYTES":
        if variable or elements != 1:
            raise _fault(
                f"For BYTE datatype raw input '{spec.name}', the model must have input shape [1]; its shape is"
                f" {list(spec.dims)}"
            )
        return object_array([bytes(body)], (*batch, *spec.dims))
    row_bytes = elements * spec.dtype.numpy.itemsize
    shape = [len(body) // row_bytes if size == -1 and row_bytes else max(size, 0) for size in spec.dims]
    expected = math.prod(shape) * spec.dtype.numpy.itemsize
    if len(body) != expected:
        raise _fault(
            f"input byte size mismatch for input 'raw_input' for model '{MODEL_NAME}'. Expected {expected}, got"
            f" {len(body)}; the shape of input '{spec.name}' is {list(spec.dims)}"
        )
    return from_raw(spec, [*batch, *shape], memoryview(body))


def _fault(text: str) -> RequestError:
    """The error with `text`, after the id of the request, as in Triton."""
    return input_error(f"[request id: <id_unknown>] {text}")
