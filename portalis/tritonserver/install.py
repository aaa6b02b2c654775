"""Finds tritonserver: on PATH (NVIDIA's containers), or inside the `nvidia-pytriton` wheel.

The server starts one *stub* process per model instance. A stub is an executable with one embedded Python version,
which must be that of the interpreter with wasmtime and numpy in its site-packages.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import MissingPart

STUB_NAME = "triton_python_backend_stub"
_HOW_TO_INSTALL = (
    "Install it with `pip install 'portalis[triton]'` (the nvidia-pytriton wheel has a full tritonserver), "
    "or run inside NVIDIA's container, where `tritonserver` is on PATH."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonInstall:
    """A tritonserver and the files with which it runs python-based backends."""

    binary: Path
    library_path: tuple[Path, ...]  # directories for LD_LIBRARY_PATH
    python_backend: Path  # the directory of libtriton_python.so and triton_python_backend_utils.py
    stub: Path
    source: str  # "path" or "wheel"

    @property
    def stub_libpython(self) -> str:
        """The file name of the libpython that the stub is linked with, for example ``libpython3.11.so.1.0``.

        Raises MissingPart if it is linked with none.
        """
        found = re.search(rb"libpython3[0-9a-f.-]*\.so[0-9.]*", self.stub.read_bytes())
        if found is None:
            raise MissingPart(f"{self.stub} is not linked with a libpython", remediation=_HOW_TO_INSTALL)
        return found[0].decode()

    @property
    def stub_python(self) -> str:
        """The Python version of the stub, for example ``3.11``. A bundled libpython is ``libpython3-<hash>.13.so``."""
        found = re.fullmatch(r"libpython3(?:-[0-9a-f]+)?\.(\d+)\.so.*", self.stub_libpython)
        return f"3.{found[1]}" if found else "unknown"


def find_tritonserver() -> TritonInstall:
    """The tritonserver of this machine. Raises MissingPart, with the way to install one, if none is found."""
    on_path = shutil.which("tritonserver")
    if on_path:
        return _on_path(Path(on_path).resolve())
    spec = importlib.util.find_spec("pytriton")  # not imported: that would start zmq, gevent and tritonclient
    if spec is None or not spec.submodule_search_locations:
        raise MissingPart(
            "tritonserver is not on PATH and nvidia-pytriton is not installed", remediation=_HOW_TO_INSTALL
        )
    return _in_wheel(Path(next(iter(spec.submodule_search_locations))))


def _on_path(binary: Path) -> TritonInstall:
    python_backend = binary.parent.parent / "backends" / "python"
    stub = python_backend / STUB_NAME
    if not stub.is_file():
        raise MissingPart(
            f"{binary} has no Python backend: {stub} does not exist",
            remediation="Use a Triton image that has the Python backend (such as nvcr.io/nvidia/tritonserver:…-py3), "
            "or put nvidia-pytriton's tritonserver before it on PATH.",
        )
    library = binary.parent.parent / "lib"
    libraries = (library,) if library.is_dir() else ()
    return TritonInstall(binary=binary, library_path=libraries, python_backend=python_backend, stub=stub, source="path")


def _in_wheel(pytriton: Path) -> TritonInstall:
    root = pytriton / "tritonserver"
    binary = root / "bin" / "tritonserver"
    if not os.access(binary, os.X_OK):
        raise MissingPart(
            f"the nvidia-pytriton wheel in {pytriton.parent} has no executable tritonserver: {binary}",
            remediation="Reinstall it: `pip install --force-reinstall nvidia-pytriton` (wheels exist for Linux only).",
        )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stubs = root / "python_backend_stubs"
    stub = stubs / version / STUB_NAME
    if not stub.is_file():
        have = ", ".join(sorted((path.parent.name for path in stubs.glob(f"*/{STUB_NAME}")), key=_version_key))
        raise MissingPart(
            f"nvidia-pytriton has no Python stub for Python {version}; it has stubs for {have}",
            remediation="Run portalis with one of those Python versions.",
        )
    return TritonInstall(
        binary=binary,
        library_path=(pytriton.parent / "nvidia_pytriton.libs",),
        python_backend=root / "backends" / "python",
        stub=stub,
        source="wheel",
    )


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
