"""Installs the `wasm` backend in a backend directory of Triton: ``model.py`` and the island, copied or linked.

The island (`portalis.backend`) gets a separate name, so that it works on a server with wasmtime and numpy but without
portalis.
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

ISLAND_NAME = "portalis_backend"  # not "backend": the stub's sys.path also has all other packages
MARKER = ".portalis-backend"  # a directory with this file was written by portalis, and may be replaced
MODEL_PY = f'''\
"""A model of Triton's Python backend that runs WebAssembly, written by portalis."""

from {ISLAND_NAME}.triton.model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''

PLAN_PY = f'''\
"""Makes plans for the native executor next to it, written by portalis."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from {ISLAND_NAME}.triton.helper import main

main()
'''
LIBRARY = "libtriton_wasm.so"  # Triton prefers it to model.py
# a file with the path of the Python for plan.py; PORTALIS_PYTHON overrides it, and PATH's Python is the fallback
INTERPRETER = "interpreter"
NO_MACHINE = "none"
_SOURCES = (".c", ".h")


def machines() -> list[str]:
    """The machines with native libraries, by their names in `platform.machine()`."""
    return sorted(path.parent.name for path in island().glob(f"lib/*/{LIBRARY}"))


def this_machine() -> str:
    """The name of this machine if it is one of `machines`, else NO_MACHINE."""
    return platform.machine() if sys.platform == "linux" and platform.machine() in machines() else NO_MACHINE


def library() -> Path | None:
    """The library for Triton on this machine, or None."""
    machine = this_machine()
    return None if machine == NO_MACHINE else island() / "lib" / machine / LIBRARY


def island() -> Path:
    """The directory of `portalis.backend`, without an import, which would load wasmtime and numpy."""
    return (Path(__file__).parent / "backend").resolve()


def island_files() -> Iterator[tuple[PurePosixPath, Path]]:
    """The island's files for a Python that runs modules: relative paths, and the source files.

    They are for machines of any kind, so the native executor of each is included; C sources and Triton's libraries are
    not.
    """
    return (each for each in source_files(island()) if each[0].name != LIBRARY and each[0].suffix not in _SOURCES)


def library_files() -> Iterator[tuple[PurePosixPath, Path]]:
    """The libraries that Triton loads, one for each machine, like `island_files`."""
    return (each for each in source_files(island() / "lib", "lib") if each[0].name == LIBRARY)


def source_files(root: Path, under: str = "") -> Iterator[tuple[PurePosixPath, Path]]:
    """The files of a package that is copied unchanged: relative paths, and the source files."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield PurePosixPath(under, path.relative_to(root)), path


def link_backend(folder: Path) -> None:
    """Create the backend in `folder` with a link to the island, so that edits and coverage apply to the original."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / ISLAND_NAME
    link.unlink(missing_ok=True)
    link.symlink_to(island())
    _add_entries(folder, this_machine())


def install_backend(directory: str | os.PathLike[str], *, force: bool = False, machine: str | None = None) -> Path:
    """Install the backend as files in ``<directory>/wasm``, and return that path.

    `machine` is the server's: one of `machines`, NO_MACHINE for only Triton's Python backend, or by default this one.

    The new directory replaces an earlier one by portalis in two renames. A different directory or file there raises
    UsageError unless `force` is set. (Not by `atomic_files`: this module is copied alone into an image.)
    """
    machine = this_machine() if machine is None else machine
    if machine not in (*machines(), NO_MACHINE):
        raise UsageError(
            f"no native executor for {machine!r}",
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
    except OSError as error:
        raise UsageError(
            f"cannot write to {directory}: {error.strerror}",
            remediation="Name a writable directory; it is created if it does not exist.",
        ) from error
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
    """Write the files that Triton loads: the native executor with its planner, and the Python backend's model."""
    (folder / "model.py").write_text(MODEL_PY)
    for name in (LIBRARY, "plan.py", INTERPRETER):  # of an earlier layout
        (folder / name).unlink(missing_ok=True)
    if machine == NO_MACHINE:
        return
    shutil.copyfile(island() / "lib" / machine / LIBRARY, folder / LIBRARY)
    (folder / "plan.py").write_text(PLAN_PY)
    if sys.executable:
        (folder / INTERPRETER).write_bytes(os.fsencode(sys.executable) + b"\n")
