"""Which engine runs a model in Triton: the native executor, inside the server, or Triton's Python backend."""

from __future__ import annotations

from enum import Enum

from ..interface.interface import Convention, Interface


class Engine(str, Enum):
    """The values of ``wasm.engine``."""

    AUTO = "auto"
    """The native executor where it can run the model, else Triton's Python backend."""
    NATIVE = "native"
    PYTHON = "python"


def native_obstacle(interface: Interface, threads: int = 1) -> str | None:
    """Why the native executor runs no such model, on whatever server; None where it does."""
    if interface.convention is Convention.COMMAND:
        return "the native executor runs no command"
    if threads > 1:
        return (
            f"wasm.threads is {threads}, and the native executor has a thread for each instance of the instance group"
        )
    return None


def native_required_error(why: str) -> str:
    """The error of a model that allows no other engine than the native one."""
    return f"wasm.engine is native, but {why}: set wasm.engine to auto or python"
