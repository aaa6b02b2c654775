"""What an attack may end in, in the words of each server."""

from __future__ import annotations

from portalis.backend import GuestStatus, GuestTimeout, WasmError

from .attacks import Attack


def statuses(attack: Attack) -> set[int]:
    """The HTTP statuses of the service."""
    codes: dict[type[WasmError], int] = {GuestTimeout: 504, GuestStatus: 400}
    return {codes.get(error, 500) for error in attack.errors}


def triton_statuses(attack: Attack) -> set[str]:
    """The gRPC statuses of Triton."""
    codes: dict[type[WasmError], str] = {GuestTimeout: "UNAVAILABLE", GuestStatus: "INVALID_ARGUMENT"}
    return {codes.get(error, "INTERNAL") for error in attack.errors}
