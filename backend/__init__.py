"""The Triton backend and the WebAssembly runtime under it.

This package is an island: it is copied as it is into model repositories, images and extensions, and imports nothing but
wasmtime, numpy and the standard library.

The names of `_HOMES` are imported when they are asked for: the others cost neither wasmtime nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import AbiViolation as AbiViolation
from .errors import Cancelled as Cancelled
from .errors import GuestError as GuestError
from .errors import GuestStatus as GuestStatus
from .errors import GuestTimeout as GuestTimeout
from .errors import HostBusy as HostBusy
from .errors import InputError as InputError
from .errors import InterfaceError as InterfaceError
from .errors import InternalError as InternalError
from .errors import MemoryLimit as MemoryLimit
from .errors import ModuleError as ModuleError
from .errors import SettingsError as SettingsError
from .errors import Trap as Trap
from .errors import WasmError as WasmError
from .limits import Limits as Limits

if TYPE_CHECKING:
    from .compile.cache import CompileCache as CompileCache
    from .interface.interface import Convention as Convention
    from .interface.interface import Interface as Interface
    from .interface.interface import TensorSpec as TensorSpec
    from .program import Program as Program

_HOMES = {
    "CompileCache": "compile.cache",
    "Convention": "interface.interface",
    "Interface": "interface.interface",
    "Program": "program",
    "TensorSpec": "interface.interface",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value  # the next time it is found without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
