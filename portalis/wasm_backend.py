"""Puts the `wasm` backend where a Triton server finds it: ``model.py`` and the island, copied or linked.

The island (`portalis.backend`) is placed under its own name, so that it works on a server where portalis itself is
not installed and only wasmtime and numpy are there.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from . import __version__
from .errors import UsageError

ISLAND_NAME = "portalis_backend"  # not "backend": the stub's sys.path is shared with everything else installed
MARKER = ".portalis-backend"  # a folder that carries this file is ours to replace
MODEL_PY = f'''\
"""A model of Triton's Python backend that runs WebAssembly, written by portalis."""

from {ISLAND_NAME}.triton.model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''

PLAN_PY = f'''\
"""Makes plans for the native executor beside it, written by portalis."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from {ISLAND_NAME}.plan.helper import main

main()
'''
LIBRARY = "libtriton_wasm.so"  # which Triton takes before model.py
INTERPRETER = "interpreter"  # a file that names the Python for plan.py: PORTALIS_PYTHON overrides it, PATH's is used if it is gone


def native_library() -> Path | None:
    """The native executor for this machine's Triton; None where there is none."""
    path = island() / "lib" / platform.machine() / LIBRARY
    return path if sys.platform == "linux" and path.exists() else None


def island() -> Path:
    """The folder of `portalis.backend`, found without importing it (that would load wasmtime and numpy)."""
    return (Path(__file__).parent / "backend").resolve()


def island_files() -> Iterator[tuple[PurePosixPath, Path]]:
    """The files to copy: their paths below the island's folder, and where they are."""
    return source_files(island())


def source_files(root: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    """The files of a package that is copied as it is: their paths below its folder, and where they are."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield PurePosixPath(path.relative_to(root)), path


def link_backend(folder: Path) -> None:
    """Lay out the backend in `folder` with a link to the island, so that edits and coverage reach the original."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / ISLAND_NAME
    link.unlink(missing_ok=True)
    link.symlink_to(island())
    _add_entries(folder)


def install_backend(directory: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Put the backend in ``<directory>/wasm`` as plain files and return that folder.

    The folder is made beside its place and moved there whole; an earlier one of ours is replaced. Anything else that
    stands there raises `UsageError` unless `force`.
    """
    directory = Path(directory).absolute()
    target = directory / "wasm"
    if os.path.lexists(target) and not force and not (target / MARKER).is_file():
        raise UsageError(
            f"{target} exists and was not written by portalis",
            remediation="Choose another backend directory, or replace it with --force.",
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".wasm-", dir=directory))
    except OSError as problem:
        raise UsageError(
            f"cannot write into {directory}: {problem.strerror}",
            remediation="Name a folder that you may write to; it is created when missing.",
        ) from problem
    try:
        _copy_backend(staging / "wasm")
        if os.path.lexists(target):
            target.rename(staging / "previous")
        (staging / "wasm").rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _copy_backend(folder: Path) -> None:
    shutil.copytree(island(), folder / ISLAND_NAME, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    _add_entries(folder)
    (folder / MARKER).write_text(f"portalis {__version__}\n")


def _add_entries(folder: Path) -> None:
    """What Triton starts with: the native executor and its planner, and the model of the Python backend."""
    (folder / "model.py").write_text(MODEL_PY)
    library = native_library()
    if library is not None:
        shutil.copyfile(library, folder / LIBRARY)
        (folder / "plan.py").write_text(PLAN_PY)
        if sys.executable:
            (folder / INTERPRETER).write_bytes(os.fsencode(sys.executable) + b"\n")
