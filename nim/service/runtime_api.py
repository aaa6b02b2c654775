"""The runtime that the service uses: `portalis_backend` in an image, `portalis.backend` elsewhere.

All other modules of the service import the runtime from here.
"""

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
    from ...backend.batch.request_checks import RequestChecker, check_rows
    from ...backend.constants import PAGE
    from ...backend.executor.file_mapping import FileMapping, map_file
    from ...backend.interface.dtypes import BYTES, parse_dtype
    from ...backend.interface.interface import Convention
    from ...backend.interface.json_data import decode_elements, describe_json_value, encode_elements
    from ...backend.setting_names import SERVICE_NAMES, SettingNames
    from ...backend.triton.model_parameters import request_timeout_s
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
    from portalis_backend.batch.request_checks import RequestChecker, check_rows
    from portalis_backend.constants import PAGE
    from portalis_backend.executor.file_mapping import FileMapping, map_file
    from portalis_backend.interface.dtypes import BYTES, parse_dtype
    from portalis_backend.interface.interface import Convention
    from portalis_backend.interface.json_data import decode_elements, describe_json_value, encode_elements
    from portalis_backend.setting_names import SERVICE_NAMES, SettingNames
    from portalis_backend.triton.model_parameters import request_timeout_s

__all__ = [
    "BYTES",
    "PAGE",
    "SERVICE_NAMES",
    "Cancelled",
    "Convention",
    "FileMapping",
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
    "RequestChecker",
    "SettingNames",
    "SettingsError",
    "TensorSpec",
    "Trap",
    "WasmError",
    "check_rows",
    "decode_elements",
    "describe_json_value",
    "deserialize",
    "encode_elements",
    "map_file",
    "object_array",
    "parse_dtype",
    "request_timeout_s",
    "serialize",
]
