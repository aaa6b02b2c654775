"""Functions for the scripts of example scenarios: open a stage, and read and write a module's arrays on it.

A module's arrays are the attributes ``inputs:<name>`` and ``outputs:<name>`` of one prim. A USD array has one axis. If
a tensor has a different number of axes, the attribute ``inputs:<name>:shape`` contains its shape. An attribute has
USD's type for the data type, or the next wider type.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .attributes import StageAttributes

# the only 8-bit or 16-bit integer type of USD is uchar; BF16 is stored as its bits
USD_TYPES: Mapping[str, str] = {
    "BOOL": "bool[]",
    "UINT8": "uchar[]",
    "UINT16": "uint[]",
    "UINT32": "uint[]",
    "UINT64": "uint64[]",
    "INT8": "int[]",
    "INT16": "int[]",
    "INT32": "int[]",
    "INT64": "int64[]",
    "FP16": "half[]",
    "FP32": "float[]",
    "FP64": "double[]",
    "BF16": "uint[]",
    "BYTES": "string[]",
}
OWNER = "portalis:module"


def open_stage(scene: Path) -> Any:
    """Open the scene: in Kit as the current stage, else as a stage of USD; None if USD is not installed.

    Outside Kit, the scene's layers are not changed: values are written to the session layer.
    """
    try:
        import omni.usd
    except ImportError:
        pass
    else:
        context = omni.usd.get_context()
        context.open_stage(str(scene))
        return context.get_stage()
    try:
        from pxr import Usd
    except ImportError:
        return None
    stage = Usd.Stage.Open(str(scene))
    stage.SetEditTarget(stage.GetSessionLayer())
    return stage


def prim_of(stage: Any, module: str, otherwise: str) -> Any:
    """The prim whose attribute ``portalis:module`` names the module; else a new prim at the path `otherwise`."""
    for prim in stage.Traverse():
        owner = prim.GetAttribute(OWNER)
        if owner and owner.Get() == module:
            return prim
    return stage.DefinePrim(otherwise, "Scope")


def read(prim: Any, name: str, spec: Any, *, batched: bool) -> np.ndarray:
    """The array of the input `spec` from the attribute ``inputs:<name>``.

    An attribute without a value is set to a sample. Raises ValueError if the attribute does not match the input.
    """
    attribute = prim.GetAttribute(f"inputs:{name}")
    if not attribute or attribute.Get() is None:
        write(prim, f"inputs:{name}", spec, sample(spec, batched=batched))
    array = StageAttributes(prim.GetStage()).read(f"{prim.GetPath()}.inputs:{name}")
    shape = prim.GetAttribute(f"inputs:{name}:shape")
    if shape and shape.Get() is not None:
        array = array.reshape(tuple(shape.Get()))
    expected = spec.dtype.numpy
    if not np.can_cast(array.dtype, expected, "same_kind"):
        raise ValueError(f"expected {expected} in {attribute.GetPath()}, got {array.dtype}")
    return array.astype(expected, copy=False)


def write(prim: Any, name: str, spec: Any, array: np.ndarray) -> None:
    """Write an array to the attribute `name` (``outputs:y``), which is created if it is missing."""
    from pxr import Sdf

    if not prim.GetAttribute(name):
        prim.CreateAttribute(name, Sdf.ValueTypeNames.Find(USD_TYPES[spec.dtype.name]), custom=True)
    attribute = prim.GetAttribute(name)
    element = np.array(attribute.GetTypeName().arrayType.type.pythonClass(1)).shape[1:]  # (3,) of a point3f[]
    if array.ndim != 1 + len(element) or array.shape[1:] != element:
        axes = prim.CreateAttribute(f"{name}:shape", Sdf.ValueTypeNames.IntArray, custom=True)
        axes.Set([int(size) for size in array.shape])
        array = array.reshape((-1, *element))
    StageAttributes(prim.GetStage()).write(str(attribute.GetPath()), array)


def sample(spec: Any, *, batched: bool) -> np.ndarray:
    """An array for an input: ones, with 4 for each variable dim and a batch of one row."""
    shape = (1,) * batched + tuple(4 if size == -1 else size for size in spec.dims)
    return np.full(shape, b"one" if spec.dtype.name == "BYTES" else 1, dtype=spec.dtype.numpy)


def is_batched(interface: Any) -> bool:
    """Whether tensors have a batch dimension in addition to their dims."""
    return interface.max_batch_size > 0 and interface.convention.value in ("dlpack", "command")
