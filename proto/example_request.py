"""The smallest request that a model takes, for documents and guides."""

from __future__ import annotations

import math
from typing import Any

from .api_models import ApiModel, ApiTensor

MOST_ELEMENTS = 64  # of a tensor; more are not worth reading


def value(datatype: str) -> Any:
    """One element, as JSON."""
    if datatype == "BYTES":
        return "text"
    if datatype == "BOOL":
        return True
    return 0.5 if datatype in ("FP16", "BF16", "FP32", "FP64") else 1


def request(model: ApiModel) -> dict[str, Any] | None:
    """The JSON of a request; None where it would be too long to read."""
    if any(math.prod(tensor.smallest) > MOST_ELEMENTS for tensor in model.required):
        return None
    body: dict[str, Any] = {"inputs": [_tensor(tensor) for tensor in model.required]}
    if model.sequence_id is not None:  # a sequence of one request
        body = {"parameters": {"sequence_id": model.sequence_id, "sequence_start": True, "sequence_end": True}} | body
    return body


def _tensor(tensor: ApiTensor) -> dict[str, Any]:
    shape = list(tensor.smallest)
    data = [value(tensor.datatype)] * math.prod(shape)
    return {"name": tensor.name, "shape": shape, "datatype": tensor.datatype, "data": data}
