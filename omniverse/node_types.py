"""Which data types OmniGraph has, and so which modules can be its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..backend.interface.interface import Interface

OMNIGRAPH_TYPES: Final = {
    "BOOL": "bool",
    "UINT8": "uchar",
    "INT32": "int",
    "UINT32": "uint",
    "INT64": "int64",
    "UINT64": "uint64",
    "FP16": "half",
    "FP32": "float",
    "FP64": "double",
    "BYTES": "token",
}


def node_problem(interface: Interface | None) -> str | None:
    """Why no node can be made of a module with this interface."""
    if interface is None:
        return "its interface is not known"
    odd = [
        f"{each.name} ({each.dtype.name})"
        for each in (*interface.inputs, *interface.outputs)
        if each.dtype.name not in OMNIGRAPH_TYPES
    ]
    return f"OmniGraph has no type for {', '.join(odd)}; it has {', '.join(OMNIGRAPH_TYPES)}" if odd else None
