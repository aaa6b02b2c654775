"""Status codes with which each server may respond to an attack."""

from __future__ import annotations

from portalis.backend import GuestStatus, GuestTimeout, WasmError

from .attacks import Attack


def statuses(attack: Attack) -> set[int]:
    """HTTP status codes of the service."""
    codes: dict[type[WasmError], int] = {GuestTimeout: 504, GuestStatus: 400}
    return {codes.get(error, 500) for error in attack.errors}


def triton_statuses(attack: Attack) -> set[str]:
    """gRPC status codes of Triton."""
    codes: dict[type[WasmError], str] = {GuestTimeout: "UNAVAILABLE", GuestStatus: "INVALID_ARGUMENT"}
    return {codes.get(error, "INTERNAL") for error in attack.errors}
