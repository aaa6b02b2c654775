"""Selection of the engine for a model in Triton: the native executor in the server, or Triton's Python backend."""

from __future__ import annotations

from enum import Enum

from ..interface.interface import Convention, Interface


class Engine(str, Enum):
    """The values of ``wasm.engine``."""

    AUTO = "auto"
    """The native executor if it can run the model, else Triton's Python backend."""
    NATIVE = "native"
    PYTHON = "python"


def native_obstacle(interface: Interface, threads: int = 1) -> str | None:
    """The reason why the native executor cannot run the model on any server, or None."""
    if interface.convention is Convention.COMMAND:
        return "the native executor does not run commands"
    if threads > 1:
        return f"wasm.threads is {threads}, and the native executor uses one thread per instance of the instance group"
    return None


def native_required_error(reason: str) -> str:
    """The error message for a model that requires the native engine, which cannot be used for `reason`."""
    return f"wasm.engine is native, but {reason}: set wasm.engine to auto or python"
