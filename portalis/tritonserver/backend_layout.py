"""The files and the environment with which tritonserver runs python-based backends.

A backend directory has the right stub, and in the environment that stub finds the standard library and the
site-packages of *this* interpreter.

Measured on Triton 2.51: the stub runs Python isolated (`sys.flags.isolated == 1`), so PYTHONHOME and PYTHONPATH are
ignored. It finds its prefix as any embedded interpreter does, from the first `python3` on PATH; if that one belongs
to a virtual environment, the environment's site-packages are used. Its libpython comes from the dynamic loader.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from ..atomic_files import replacing
from ..errors import MissingPart
from ..wasm_backend import link_backend
from .install import STUB_NAME, TritonInstall, find_tritonserver
from .shell import shell_folder

SYSTEM_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib")


def create_backend_directory(target: str | os.PathLike[str], *, install: TritonInstall | None = None) -> Path:
    """Create `target` for ``--backend-directory``, with ``python/`` (this interpreter's stub) and ``wasm/``.

    Files of an earlier call are replaced.
    """
    install = install or find_tritonserver()
    target = Path(target).absolute()
    python = target / "python"
    python.mkdir(parents=True, exist_ok=True)
    for source in sorted(install.python_backend.iterdir()):
        if source.is_file():
            _replace_by_copy(source, python / source.name)
    _replace_by_copy(install.stub, python / STUB_NAME)
    link_backend(target / "wasm")
    return target


def _replace_by_copy(source: Path, target: Path) -> None:
    # a stub that is still running cannot be opened for writing ("text file busy")
    with replacing(target) as temporary:
        shutil.copy2(source, temporary)


def python_runtime(install: TritonInstall, folder: Path) -> dict[str, str]:
    """The environment in which tritonserver's stubs use this interpreter. The links that it needs are put in `folder`.

    Raises MissingPart if the libpython that the stub is linked with is not on this machine.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    libraries = [str(path) for path in install.library_path]
    shell = shell_folder(folder)
    if shell is not None:
        environment["PATH"] = os.pathsep.join([str(shell), environment.get("PATH", os.defpath)])
    if install.stub_python == f"{sys.version_info.major}.{sys.version_info.minor}":
        libpython = find_libpython(install)
        if libpython is not None:
            # a directory with this link alone: the interpreter's own may contain other libraries, as conda's does
            links = folder / "lib"
            links.mkdir(parents=True, exist_ok=True)
            _link(links / install.stub_libpython, libpython)
            libraries.append(str(links))
        environment["PATH"] = os.pathsep.join([str(_python3_folder(folder)), environment.get("PATH", os.defpath)])
    if environment.get("LD_LIBRARY_PATH"):
        libraries.append(environment["LD_LIBRARY_PATH"])
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
    return environment


def find_libpython(install: TritonInstall) -> Path | None:
    """The libpython for the stub; None if the wheel includes it. Raises MissingPart if none is found."""
    name = install.stub_libpython
    if any((folder / name).is_file() for folder in install.library_path):
        return None
    for folder in _library_folders():
        if (folder / name).is_file():
            return folder / name
    raise MissingPart(
        f"Triton's Python stub needs {name}, which was not found (this Python, {sys.executable}, is linked statically)",
        remediation=f"On Debian or Ubuntu: `apt-get install libpython{install.stub_python}`. Elsewhere use a Python "
        "built with --enable-shared (official Docker images, pyenv with PYTHON_CONFIGURE_OPTS=--enable-shared, conda).",
    )


def _library_folders() -> Iterator[Path]:
    """Directories that may contain libpython, this interpreter's first.

    A libpython of a different patch release works, but with this interpreter's standard library.
    """
    multiarch = sysconfig.get_config_var("MULTIARCH")
    configured = [sysconfig.get_config_var("LIBDIR"), str(Path(sys.base_prefix) / "lib")]
    for folder in [*filter(None, configured), *SYSTEM_LIBRARIES]:
        if multiarch:
            yield Path(folder) / multiarch
        yield Path(folder)
    yield from (Path(entry) for entry in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if entry)


def _python3_folder(folder: Path) -> Path:
    """A directory whose ``python3`` is this interpreter: the virtual environment's, or one with a link to it."""
    if sys.prefix != sys.base_prefix and (Path(sys.prefix) / "bin" / "python3").exists():
        return Path(sys.prefix) / "bin"
    links = folder / "bin"
    links.mkdir(parents=True, exist_ok=True)
    _link(links / "python3", Path(sys.executable).resolve())
    return links


def _link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)
