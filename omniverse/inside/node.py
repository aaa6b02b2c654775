"""What an OmniGraph node of a module computes: attributes to arrays, the call, arrays to attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .attributes import texts_of
from .log import short


def compute(
    db: Any, run: Any, module: str, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
) -> bool:
    """Compute one node; `db` is the one that OmniGraph gives to `compute`. Whether it went well, as OmniGraph wants it.

    Of each tensor `inputs` and `outputs` tell the ``attribute``, the ``name`` that the module has for it, its ``sizes``
    (with the batch; None where leading axes are looped over), its ``dtype``, and the attribute with its ``shape``,
    where there is one.
    """
    try:
        given = {tensor["name"]: _given(db.inputs, tensor) for tensor in inputs}
        made = run(module, {name: array for name, array in given.items() if array is not None})
        for tensor in outputs:
            _give(db.outputs, tensor, made[tensor["name"]])
    except Exception as problem:  # noqa: BLE001  # OmniGraph shows it at the node
        db.log_error(short(problem))
        return False
    return True


def _given(attributes: Any, tensor: Mapping[str, Any]) -> np.ndarray | None:
    value = getattr(attributes, tensor["attribute"])
    if tensor["dtype"] == "object":
        array = np.array([text.encode() for text in value], dtype=object)
    else:
        array = np.asarray(value, dtype=tensor["dtype"])
    if tensor["optional"] and array.size == 0:
        return None
    sizes = tensor["sizes"]
    if tensor["shape"] is not None:
        shape = [int(size) for size in getattr(attributes, tensor["shape"])]
        return array.reshape(shape) if shape else array
    return array if sizes is None else array.reshape(sizes)


def _give(attributes: Any, tensor: Mapping[str, Any], array: np.ndarray) -> None:
    if tensor["shape"] is not None:
        setattr(attributes, tensor["shape"], np.array(array.shape, dtype=np.int32))
    flat = array.reshape(-1, tensor["tuple"]) if tensor["tuple"] > 1 else array.reshape(-1)
    value = texts_of(flat, f"outputs:{tensor['attribute']}") if tensor["dtype"] == "object" else flat
    setattr(attributes, tensor["attribute"], value)
