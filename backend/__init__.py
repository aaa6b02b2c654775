"""The Triton backend and the WebAssembly runtime under it.

This package is an island: it is copied as it is into model repositories, images and extensions, and imports nothing but
wasmtime, numpy and the standard library.
"""

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
