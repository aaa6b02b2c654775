"""Finds NumPy and Wasmtime: Kit's own if it has them, else the wheels in this extension."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

_FOLDER = "pip_prebundle"


class Missing(RuntimeError):
    """A required library is missing, or has a different version."""


def add(root: Path) -> str | None:
    """Append the wheels of the extension at `root` to Python's path; returns the argument for `remove`.

    Returns None if the extension has no wheels. The entry is the last one, so that a library of Kit or of another
    extension takes precedence and is loaded only once.

    When Kit disables an extension, it removes all modules in the extension's directory from `sys.modules`. But NumPy
    cannot be loaded twice into one process, and other extensions might use it. Therefore the path begins with two
    slashes, which POSIX preserves and which Kit does not recognize as a part of the extension's directory.
    """
    folder = root / _FOLDER
    if not folder.is_dir():
        return None
    path = str(folder)
    entry = f"/{path}" if path.startswith("/") and not path.startswith("//") else path
    if entry not in sys.path:
        sys.path.append(entry)
        importlib.invalidate_caches()
    return entry


def remove(entry: str | None) -> None:
    """Remove the directory from Python's path. Loaded libraries stay, because others might use them."""
    if entry in sys.path:
        sys.path.remove(entry)


def check(requirement: str) -> None:
    """Raise Missing unless NumPy and a Wasmtime of `requirement` (``wasmtime>=50,<51``) can be imported."""
    for name in ("numpy", "wasmtime"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise Missing(f"Kit's Python requires numpy and {requirement} ({error})") from None
    version, major = _version(), requirement.partition(">=")[2].partition(",")[0]
    if version and version.partition(".")[0] != major:
        raise Missing(f"{requirement} is required, but Kit has already loaded wasmtime {version} from another source")


def _version() -> str:
    """The version of the loaded Wasmtime, from its dist-info directory; empty if unknown.

    The package has no version attribute.
    """
    site = Path(str(sys.modules["wasmtime"].__file__)).parents[1]
    metadata = sorted(site.glob("wasmtime-*.dist-info"))
    return metadata[-1].name.removesuffix(".dist-info").partition("-")[2] if metadata else ""
