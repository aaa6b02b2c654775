"""The smallest valid request of a model, as an example in API documents and guides."""

from __future__ import annotations

import math
from typing import Any

from .api_models import ApiModel, ApiTensor

MAX_ELEMENTS = 64  # of a tensor; a longer example is unreadable


def example_value(datatype: str) -> Any:
    """One element as JSON."""
    if datatype == "BYTES":
        return "text"
    if datatype == "BOOL":
        return True
    return 0.5 if datatype in ("FP16", "BF16", "FP32", "FP64") else 1


def example_request(model: ApiModel) -> dict[str, Any] | None:
    """The request as JSON; None if a tensor has more than `MAX_ELEMENTS` elements."""
    if any(math.prod(tensor.smallest_shape) > MAX_ELEMENTS for tensor in model.required_inputs):
        return None
    body: dict[str, Any] = {"inputs": [_tensor(tensor) for tensor in model.required_inputs]}
    if model.sequence_id is not None:  # a sequence of one request
        body = {"parameters": {"sequence_id": model.sequence_id, "sequence_start": True, "sequence_end": True}} | body
    return body


def _tensor(tensor: ApiTensor) -> dict[str, Any]:
    shape = list(tensor.smallest_shape)
    data = [example_value(tensor.datatype)] * math.prod(shape)
    return {"name": tensor.name, "shape": shape, "datatype": tensor.datatype, "data": data}
