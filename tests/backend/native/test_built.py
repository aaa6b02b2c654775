"""The committed adapter and native libraries equal a build of their sources, and fit the servers that load them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backend.native.elf import MACHINES, Library
from tests.parts import ROOT

BACKEND = ROOT / "backend"
CORE, TRITON = "libwasm_core.so", "libtriton_wasm.so"
LIBRARIES = [f"lib/{machine}/{name}" for machine in sorted(MACHINES.values()) for name in (CORE, TRITON)]
BUILT = ["adapter/adapter.wasm", *LIBRARIES]
GLIBC = (2, 28)  # that of NVIDIA's oldest images, Debian 10 and RHEL 8
OF_GLIBC = {"libc.so.6", "libdl.so.2", "libpthread.so.0", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
LARGEST_BYTES = 128 << 10


@pytest.mark.compiler
@pytest.mark.slow
def test_the_sources_give_the_committed_bytes_wherever_they_lie(tmp_path: Path) -> None:
    """From caches that are empty, in another folder: no path, no time and no earlier build is in them."""
    tree = tmp_path / "elsewhere"
    shutil.copytree(BACKEND, tree / "backend", ignore=shutil.ignore_patterns("*.py", "*.so", "*.wasm", "__pycache__"))
    (tree / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "native", tree / ".ci")
    caches = {f"ZIG_{kind}_CACHE_DIR": str(tmp_path / kind) for kind in ("GLOBAL", "LOCAL")}
    environment = os.environ | caches | {"PYTHON": sys.executable}
    done = subprocess.run([tree / ".ci" / "native"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    made = {
        str(path.relative_to(tree / "backend"))
        for path in (tree / "backend").rglob("*")
        if path.suffix in (".so", ".wasm")
    }
    assert made == set(BUILT)
    stale = [name for name in BUILT if (tree / "backend" / name).read_bytes() != (BACKEND / name).read_bytes()]
    assert stale == [], "run .ci/native and commit what it builds"


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_is_for_its_machine_and_loads_with_an_old_glibc(name: str) -> None:
    library = Library.read(BACKEND / name)
    assert library.machine == name.split("/")[1]
    assert set(library.needed) <= OF_GLIBC
    versions = [version.removeprefix("GLIBC_").split(".") for version in library.versions]
    assert versions and max(tuple(map(int, each)) for each in versions) <= GLIBC
    assert not library.has_executable_stack
    assert len(library.data) <= LARGEST_BYTES


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_defines_no_name_that_could_clash_in_a_server(name: str) -> None:
    library = Library.read(BACKEND / name)
    prefixes = ("TRITONBACKEND_",) if name.endswith(TRITON) else ("core_",)
    defined = {symbol for symbol, here in library.symbols if here}
    assert {symbol for symbol in defined if not symbol.startswith(prefixes)} == set()
    assert defined >= ({"TRITONBACKEND_ModelInitialize"} if name.endswith(TRITON) else {"core_open", "core_run"})
    asked = {symbol for symbol, here in library.symbols if not here and symbol.startswith("TRITON")}
    assert bool(asked) == name.endswith(TRITON)
    assert not [
        symbol for symbol, _ in library.symbols if symbol.startswith("wasm")
    ]  # they are looked up, see wasmtime.h


@pytest.mark.parametrize("name", BUILT)
def test_what_is_built_is_data_without_execute_permission(name: str) -> None:
    assert not (BACKEND / name).stat().st_mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
