"""Whether the native libraries fit the wasmtime that is installed: its C API changes between major versions."""

from __future__ import annotations

WASMTIME = 50
"""The major version that the libraries were built for; the sizes of its structs they compare themselves."""


def wasmtime_incompatibility() -> str | None:
    """Why the libraries cannot use this wasmtime, None where they can. Without metadata, its structs decide."""
    import importlib.metadata  # not quick to import

    try:
        version = importlib.metadata.version("wasmtime")
    except importlib.metadata.PackageNotFoundError:
        return None
    if version.partition(".")[0] == str(WASMTIME):
        return None
    fitting = f"wasmtime>={WASMTIME},<{WASMTIME + 1}"
    return (
        f"wasmtime {version} is installed, and the native executor was built for {WASMTIME} (pip install '{fitting}')"
    )
