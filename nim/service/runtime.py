"""Where the runtime is found: beside this package in an image, in portalis elsewhere. Nothing else imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING or __name__.startswith("portalis."):
    from portalis.backend import (
        Cancelled,
        GuestError,
        GuestStatus,
        GuestTimeout,
        InputError,
        Interface,
        Limits,
        MemoryLimit,
        Program,
        SettingsError,
        TensorSpec,
        Trap,
        WasmError,
    )
    from portalis.backend.bytes_tensor import deserialize, object_array, serialize
    from portalis.backend.dtypes import bf16_to_f32, f32_to_bf16
    from portalis.backend.requests import Checker
else:
    from portalis_backend import (
        Cancelled,
        GuestError,
        GuestStatus,
        GuestTimeout,
        InputError,
        Interface,
        Limits,
        MemoryLimit,
        Program,
        SettingsError,
        TensorSpec,
        Trap,
        WasmError,
    )
    from portalis_backend.bytes_tensor import deserialize, object_array, serialize
    from portalis_backend.dtypes import bf16_to_f32, f32_to_bf16
    from portalis_backend.requests import Checker

__all__ = [
    "Cancelled",
    "Checker",
    "GuestError",
    "GuestStatus",
    "GuestTimeout",
    "InputError",
    "Interface",
    "Limits",
    "MemoryLimit",
    "Program",
    "SettingsError",
    "TensorSpec",
    "Trap",
    "WasmError",
    "bf16_to_f32",
    "deserialize",
    "f32_to_bf16",
    "object_array",
    "serialize",
]
