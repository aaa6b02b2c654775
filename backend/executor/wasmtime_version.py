"""Checks that the installed wasmtime is the one that the native libraries were built for.

The C API of wasmtime changes between major versions. A separate module: it must be importable where wasmtime's
internals do not match this package, for `portalis doctor` and the planner process.
"""

from __future__ import annotations

from ..constants import WASMTIME_MAJOR, WASMTIME_REQUIREMENT


def wasmtime_incompatibility() -> str | None:
    """The reason why the native libraries cannot use the installed wasmtime, or None.

    If wasmtime has no metadata, the libraries compare the sizes of its structs instead.
    """
    import importlib.metadata  # slow to import

    try:
        version = importlib.metadata.version("wasmtime")
    except importlib.metadata.PackageNotFoundError:
        return None
    if version.partition(".")[0] == str(WASMTIME_MAJOR):
        return None
    return (
        f"wasmtime {version} is installed, and the native executor was built for {WASMTIME_MAJOR} (pip install"
        f" '{WASMTIME_REQUIREMENT}')"
    )
