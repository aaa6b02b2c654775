"""The Triton backend and the WebAssembly runtime under it.

This package is an island: it is copied as it is into model repositories, images and extensions, and imports nothing but
wasmtime, numpy and the standard library.

The names below are imported when they are asked for, so that `facts` and `limits` cost neither wasmtime nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compile.cache import CompileCache
    from .errors import (
        AbiViolation,
        Cancelled,
        GuestError,
        GuestStatus,
        GuestTimeout,
        HostBusy,
        InputError,
        InterfaceError,
        InternalError,
        MemoryLimit,
        ModuleError,
        SettingsError,
        Trap,
        WasmError,
    )
    from .interface.interface import Convention, Interface, TensorSpec
    from .limits import Limits
    from .program import Program

__all__ = [
    "AbiViolation",
    "Cancelled",
    "CompileCache",
    "Convention",
    "GuestError",
    "GuestStatus",
    "GuestTimeout",
    "HostBusy",
    "InputError",
    "Interface",
    "InterfaceError",
    "InternalError",
    "Limits",
    "MemoryLimit",
    "ModuleError",
    "Program",
    "SettingsError",
    "TensorSpec",
    "Trap",
    "WasmError",
]


_HOMES = {
    "CompileCache": "compile.cache",
    "Convention": "interface.interface",
    "Interface": "interface.interface",
    "Limits": "limits",
    "Program": "program",
    "TensorSpec": "interface.interface",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(importlib.import_module(f".{_HOMES.get(name, 'errors')}", __name__), name)
    globals()[name] = value  # the next time it is found without this function
    return value
