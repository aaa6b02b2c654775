"""OmniGraph's data types, which decide whether a module can be a node."""

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
    """The reason why a module with this interface cannot be a node, or None."""
    if interface is None:
        return "its interface is unknown"
    unsupported = [
        f"{each.name} ({each.dtype.name})"
        for each in (*interface.inputs, *interface.outputs)
        if each.dtype.name not in OMNIGRAPH_TYPES
    ]
    if not unsupported:
        return None
    return f"OmniGraph has no type for {', '.join(unsupported)}; supported types: {', '.join(OMNIGRAPH_TYPES)}"
