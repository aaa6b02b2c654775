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

from {ISLAND_NAME}.triton.helper import main

main()
'''
LIBRARY = "libtriton_wasm.so"  # which Triton takes before model.py
# A file that names the Python for plan.py. PORTALIS_PYTHON overrides it; where that Python is gone, PATH's is used.
INTERPRETER = "interpreter"
NO_MACHINE = "none"
_SOURCES = (".c", ".h")


def machines() -> list[str]:
    """The machines that there are native libraries for, as `platform.machine()` calls them."""
    return sorted(path.parent.name for path in island().glob(f"lib/*/{LIBRARY}"))


def this_machine() -> str:
    """The one of `machines` that this is, or NO_MACHINE."""
    return platform.machine() if sys.platform == "linux" and platform.machine() in machines() else NO_MACHINE


def library() -> Path | None:
    """The library for this machine's Triton; None where there is none."""
    machine = this_machine()
    return None if machine == NO_MACHINE else island() / "lib" / machine / LIBRARY


def island() -> Path:
    """The folder of `portalis.backend`, found without importing it (that would load wasmtime and numpy)."""
    return (Path(__file__).parent / "backend").resolve()


def island_files() -> Iterator[tuple[PurePosixPath, Path]]:
    """What a Python that runs modules needs of the island: paths below its folder, and where the files lie. It is put
    on machines of any kind, so there is an executor core for each; its sources and Triton's library stay here."""
    return (each for each in source_files(island()) if each[0].name != LIBRARY and each[0].suffix not in _SOURCES)


def library_files() -> Iterator[tuple[PurePosixPath, Path]]:
    """The libraries that Triton loads, one for each machine, as `island_files`."""
    return (each for each in source_files(island() / "lib", "lib") if each[0].name == LIBRARY)


def source_files(root: Path, under: str = "") -> Iterator[tuple[PurePosixPath, Path]]:
    """The files of a package that is copied as it is: their paths below its folder, and where they are."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield PurePosixPath(under, path.relative_to(root)), path


def link_backend(folder: Path) -> None:
    """Lay out the backend in `folder` with a link to the island, so that edits and coverage reach the original."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / ISLAND_NAME
    link.unlink(missing_ok=True)
    link.symlink_to(island())
    _add_entries(folder, this_machine())


def install_backend(directory: str | os.PathLike[str], *, force: bool = False, machine: str | None = None) -> Path:
    """Put the backend in ``<directory>/wasm`` as plain files and return that folder.

    `machine` is the server's: one of `machines`, NO_MACHINE for Triton's Python backend alone, or this one by default.

    The folder is made beside its place and moved there whole; an earlier one of ours is replaced. Anything else that
    stands there raises `UsageError` unless `force`.
    """
    machine = this_machine() if machine is None else machine
    if machine not in (*machines(), NO_MACHINE):
        raise UsageError(
            f"there is no native executor for {machine!r}",
            remediation=f"Use --machine with one of {', '.join((*machines(), NO_MACHINE))}.",
        )
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
        _copy_backend(staging / "wasm", machine)
        if os.path.lexists(target):
            target.rename(staging / "previous")
        (staging / "wasm").rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _copy_backend(folder: Path, machine: str) -> None:
    for relative, source in island_files():
        target = folder / ISLAND_NAME / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    _add_entries(folder, machine)
    (folder / MARKER).write_text(f"portalis {__version__}\n")


def _add_entries(folder: Path, machine: str) -> None:
    """What Triton starts with: the native executor with its planner, and the model of the Python backend."""
    (folder / "model.py").write_text(MODEL_PY)
    for name in (LIBRARY, "plan.py", INTERPRETER):  # of an earlier layout
        (folder / name).unlink(missing_ok=True)
    if machine == NO_MACHINE:
        return
    shutil.copyfile(island() / "lib" / machine / LIBRARY, folder / LIBRARY)
    (folder / "plan.py").write_text(PLAN_PY)
    if sys.executable:
        (folder / INTERPRETER).write_bytes(os.fsencode(sys.executable) + b"\n")
