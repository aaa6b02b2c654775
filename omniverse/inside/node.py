"""Computes an OmniGraph node of a module: converts attributes to arrays, calls the module, and writes its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .attributes import texts_of
from .log import short


def compute(
    db: Any, run: Any, module: str, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
) -> bool:
    """Compute one node; returns whether it succeeded. `db` is the database that OmniGraph passes to the node.

    `inputs` and `outputs` describe each tensor: its ``attribute``, its ``name`` in the module, its ``sizes`` (with the
    batch dimension; None if the host loops over leading dimensions), its ``dtype``, and the attribute of its ``shape``,
    if it has one.
    """
    try:
        arrays = {tensor["name"]: _read(db.inputs, tensor) for tensor in inputs}
        results = run(module, {name: array for name, array in arrays.items() if array is not None})
        for tensor in outputs:
            _write(db.outputs, tensor, results[tensor["name"]])
    except Exception as error:  # noqa: BLE001  # OmniGraph shows it at the node
        db.log_error(short(error))
        return False
    return True


def _read(attributes: Any, tensor: Mapping[str, Any]) -> np.ndarray | None:
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


def _write(attributes: Any, tensor: Mapping[str, Any], array: np.ndarray) -> None:
    if tensor["shape"] is not None:
        setattr(attributes, tensor["shape"], np.array(array.shape, dtype=np.int32))
    flat = array.reshape(-1, tensor["tuple"]) if tensor["tuple"] > 1 else array.reshape(-1)
    value = texts_of(flat, f"outputs:{tensor['attribute']}") if tensor["dtype"] == "object" else flat
    setattr(attributes, tensor["attribute"], value)
