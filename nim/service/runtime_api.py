"""Where the runtime is found: beside this package in an image, in portalis elsewhere. Nothing else imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING or __name__.startswith("portalis."):
    from ...backend import (
        Cancelled,
        GuestError,
        GuestStatus,
        GuestTimeout,
        HostBusy,
        InputError,
        Interface,
        InternalError,
        Limits,
        MemoryLimit,
        Program,
        SettingsError,
        TensorSpec,
        Trap,
        WasmError,
    )
    from ...backend.batch.bytes_tensor import deserialize, object_array, serialize
    from ...backend.batch.request_checks import Checker, check_rows
    from ...backend.facts import PAGE
    from ...backend.interface import json_data
    from ...backend.interface.json_data import called
    from ...backend.terms import SERVICE, Terms
    from ...backend.triton.model_parameters import timeout_of
else:
    from portalis_backend import (
        Cancelled,
        GuestError,
        GuestStatus,
        GuestTimeout,
        HostBusy,
        InputError,
        Interface,
        InternalError,
        Limits,
        MemoryLimit,
        Program,
        SettingsError,
        TensorSpec,
        Trap,
        WasmError,
    )
    from portalis_backend.batch.bytes_tensor import deserialize, object_array, serialize
    from portalis_backend.batch.request_checks import Checker, check_rows
    from portalis_backend.facts import PAGE
    from portalis_backend.interface import json_data
    from portalis_backend.interface.json_data import called
    from portalis_backend.terms import SERVICE, Terms
    from portalis_backend.triton.model_parameters import timeout_of

__all__ = [
    "PAGE",
    "SERVICE",
    "Cancelled",
    "Checker",
    "GuestError",
    "GuestStatus",
    "GuestTimeout",
    "HostBusy",
    "InputError",
    "Interface",
    "InternalError",
    "Limits",
    "MemoryLimit",
    "Program",
    "SettingsError",
    "TensorSpec",
    "Terms",
    "Trap",
    "WasmError",
    "called",
    "check_rows",
    "deserialize",
    "json_data",
    "object_array",
    "serialize",
    "timeout_of",
]
