"""The smallest request that a module's interface allows."""

from __future__ import annotations

import math
from typing import Any

from ..target import Module


def request_for(module: Module) -> dict[str, Any]:
    """Zeros of the smallest shape for each input that has to be there, as ``POST /v1/models/{name}/infer`` takes it."""
    interface = module.inspection.interface
    assert interface is not None
    needed = [spec for spec in interface.inputs if not spec.optional] or list(interface.inputs)
    tensors = []
    for spec in needed:
        shape = ([1] if interface.max_batch_size else []) + [max(size, 1) for size in spec.dims]
        zero: Any = "" if spec.dtype.name == "BYTES" else False if spec.dtype.name == "BOOL" else 0
        data = [zero] * math.prod(shape)
        tensors.append({"name": spec.name, "datatype": spec.dtype.name, "shape": shape, "data": data})
    return {"inputs": tensors}
