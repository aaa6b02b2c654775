"""What an example scenario needs beside its script: a stage, and a module's arrays on it.

A module's arrays are attributes of one prim, ``inputs:<name>`` and ``outputs:<name>``. USD's arrays have one axis:
where a tensor has another number of axes, ``inputs:<name>:shape`` beside it has their sizes. The types are those that
USD has for a data type, or the next wider one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .attributes import StageAttributes

# USD has no 8 and 16 bit integers but uchar; BF16 travels as its bits
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
    """The scene: in Kit the stage that it shows, else one of USD's own, whose layers are left as they are (what is
    written goes into the session's); None where there is no USD at all."""
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
    """The prim that says by the attribute ``portalis:module`` that it is the module's; else one at the path
    `otherwise`, which is made."""
    for prim in stage.Traverse():
        owner = prim.GetAttribute(OWNER)
        if owner and owner.Get() == module:
            return prim
    return stage.DefinePrim(otherwise, "Scope")


def read(prim: Any, name: str, spec: Any, *, batched: bool) -> np.ndarray:
    """The array of the input `spec` from the attribute ``inputs:<name>``, which is filled with a sample when it has no
    value. Raises ValueError where the attribute is no such array."""
    attribute = prim.GetAttribute(f"inputs:{name}")
    if not attribute or attribute.Get() is None:
        write(prim, f"inputs:{name}", spec, sample(spec, batched=batched))
    array = StageAttributes(prim.GetStage()).read(f"{prim.GetPath()}.inputs:{name}")
    shape = prim.GetAttribute(f"inputs:{name}:shape")
    if shape and shape.Get() is not None:
        array = array.reshape(tuple(shape.Get()))
    wanted = spec.dtype.numpy
    if not np.can_cast(array.dtype, wanted, "same_kind"):
        raise ValueError(f"{attribute.GetPath()} is {array.dtype}, and the module takes {wanted}")
    return array.astype(wanted, copy=False)


def write(prim: Any, name: str, spec: Any, array: np.ndarray) -> None:
    """Put an array into the attribute `name` (``outputs:y``), which is made where it is not there."""
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
    """An array that an input takes: ones, four wherever any size goes, with one row where there is a batch."""
    shape = (1,) * batched + tuple(4 if size == -1 else size for size in spec.dims)
    return np.full(shape, b"one" if spec.dtype.name == "BYTES" else 1, dtype=spec.dtype.numpy)


def is_batched(interface: Any) -> bool:
    """Whether a tensor has one axis more than its dims, for a batch."""
    return interface.max_batch_size > 0 and interface.convention.value in ("dlpack", "command")
