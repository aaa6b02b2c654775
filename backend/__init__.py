"""The WebAssembly runtime, and the Triton backend that uses it.

This package is self-contained: it is copied into model repositories, images and extensions, and imports only wasmtime,
NumPy and the standard library.

The names in `_MODULES` are imported on first access, because the other names need neither wasmtime nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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
from .limits import Limits

if TYPE_CHECKING:
    from .compile.cache import CompileCache
    from .interface.interface import Convention, Interface, TensorSpec
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

_MODULES = {
    "CompileCache": "compile.cache",
    "Convention": "interface.interface",
    "Interface": "interface.interface",
    "Program": "program",
    "TensorSpec": "interface.interface",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value  # later accesses do not call this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
