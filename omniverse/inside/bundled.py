"""Where NumPy and Wasmtime come from: Kit's own where it has them, else the wheels in this extension."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

FOLDER = "pip_prebundle"


class Missing(RuntimeError):
    """A library that the extension needs and that is not there, or there in another version."""


def add(root: Path) -> str | None:
    """Let Python look into the wheels of the extension at `root`, after everything else; where that is, as `remove`
    wants it. None where there are no wheels.

    After everything else, so that a library that Kit or another extension already has stays the only one.

    Kit takes all modules in an extension's folder out of `sys.modules` when it disables the extension. NumPy cannot be
    loaded twice into one process, and others may use it by then: so Python gets the folder by a name that begins with
    two slashes, which POSIX keeps as it is, and which Kit does not find inside the extension's folder.
    """
    folder = root / FOLDER
    if not folder.is_dir():
        return None
    path = str(folder)
    entry = f"/{path}" if path.startswith("/") and not path.startswith("//") else path
    if entry not in sys.path:
        sys.path.append(entry)
        importlib.invalidate_caches()
    return entry


def remove(entry: str | None) -> None:
    """Take the folder off Python's path. Libraries that are loaded stay, as others may use them."""
    if entry in sys.path:
        sys.path.remove(entry)


def check(wanted: str) -> None:
    """Raise Missing unless NumPy and the right Wasmtime can be imported; `wanted` is like ``wasmtime>=50,<51``."""
    for name in ("numpy", "wasmtime"):
        try:
            importlib.import_module(name)
        except ImportError as problem:
            raise Missing(f"numpy and {wanted} are needed in Kit's Python ({problem})") from None
    found, major = _version(), wanted.partition(">=")[2].partition(",")[0]
    if found and found.partition(".")[0] != major:
        raise Missing(f"{wanted} is needed, and Kit has already loaded wasmtime {found}, which something else brought")


def _version() -> str:
    """That of the Wasmtime that is loaded, by what lies beside it: it does not say itself. Empty where nobody knows."""
    where = Path(str(sys.modules["wasmtime"].__file__)).parents[1]
    found = sorted(where.glob("wasmtime-*.dist-info"))
    return found[-1].name.removesuffix(".dist-info").partition("-")[2] if found else ""
