"""`portalis install-backend`, for servers that have wasmtime and NumPy but not portalis."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from portalis.errors import UsageError
from portalis.tritonserver import TritonServer, create_backend_directory
from portalis.wasm_backend import MARKER, install_backend, link_backend
from tests import parts

from .conftest import Cli
from .test_tritonserver import add


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_writes_the_runtime_package_as_regular_files(cli: Cli, tmp_path: Path) -> None:
    done = cli("install-backend", tmp_path / "backends")
    assert done.returncode == 0, done.stderr
    assert f"installed the wasm backend in {tmp_path}/backends/wasm" in done.stdout
    installed = tmp_path / "backends" / "wasm"
    backend = parts.ROOT / "backend"
    patterns = ("**/*.py", "adapter/adapter.wasm", "lib/*/libwasm_core.so")
    island = [path for pattern in patterns for path in backend.glob(pattern)]
    sources = {f"portalis_backend/{path.relative_to(backend)}": path.read_bytes() for path in island}
    found = tree(installed)
    assert {name: found[name] for name in sources} == sources
    assert set(found) - set(sources) == {"model.py", "plan.py", "interpreter", "libtriton_wasm.so", MARKER}
    assert found["interpreter"].decode() == f"{sys.executable}\n"
    assert found["libtriton_wasm.so"] == (backend / "lib" / platform.machine() / "libtriton_wasm.so").read_bytes()
    assert f"models are planned by {sys.executable}" in done.stdout
    assert not any(path.is_symlink() for path in installed.rglob("*"))


def test_installing_twice_gives_the_same_and_removes_stale_files(tmp_path: Path) -> None:
    first = tree(install_backend(tmp_path))
    (tmp_path / "wasm" / "portalis_backend" / "stale.py").write_text("")
    assert tree(install_backend(tmp_path)) == first
    assert [path.name for path in tmp_path.iterdir()] == ["wasm"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "none"])
def test_the_server_can_be_a_different_machine(cli: Cli, tmp_path: Path, machine: str) -> None:
    done = cli("install-backend", tmp_path, "--machine", machine)
    assert done.returncode == 0, done.stderr
    found = tree(tmp_path / "wasm")
    native = {"plan.py", "interpreter", "libtriton_wasm.so"}
    if machine == "none":
        assert not native & found.keys()
        assert "without the native executor: models run in Triton's Python backend" in done.stdout
    else:
        assert native <= found.keys()
        assert (
            found["libtriton_wasm.so"] == (parts.ROOT / "backend" / "lib" / machine / "libtriton_wasm.so").read_bytes()
        )


def test_a_machine_without_a_library_is_an_error_with_the_choices(cli: Cli, tmp_path: Path) -> None:
    done = cli("install-backend", tmp_path / "backends", "--machine", "riscv64")
    assert done.returncode == 2
    assert "no native executor for 'riscv64'" in done.stderr
    assert "--machine with one of aarch64, x86_64, none" in done.stderr
    assert not (tmp_path / "backends").exists()


@pytest.mark.parametrize(("system", "machine"), [("linux", "riscv64"), ("win32", "x86_64"), ("darwin", "arm64")])
def test_without_a_library_for_the_machine_only_the_python_backend_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert {path.name for path in install_backend(tmp_path).iterdir()} == {"model.py", "portalis_backend", MARKER}


def test_a_linked_backend_depends_on_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link_backend(tmp_path)
    native = {"plan.py", "interpreter", "libtriton_wasm.so"}
    assert {path.name for path in tmp_path.iterdir()} == {"model.py", "portalis_backend", *native}
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    link_backend(tmp_path)  # replaces the previous links
    assert {path.name for path in tmp_path.iterdir()} == {"model.py", "portalis_backend"}


def test_a_directory_that_portalis_did_not_write_is_rejected_and_kept(cli: Cli, tmp_path: Path) -> None:
    other = tmp_path / "wasm" / "model.py"
    other.parent.mkdir()
    other.write_text("precious")
    done = cli("install-backend", tmp_path)
    assert done.returncode == 2
    assert "was not written by portalis" in done.stderr
    assert "--force" in done.stderr
    assert other.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir() if path.name != "cwd"] == ["wasm"]
    assert cli("install-backend", tmp_path, "--force").returncode == 0
    assert other.read_text() != "precious"


def test_force_replaces_a_symlink_but_not_its_target(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("kept")
    backends = tmp_path / "backends"
    backends.mkdir()
    (backends / "wasm").symlink_to(elsewhere)
    with pytest.raises(UsageError):
        install_backend(backends)
    install_backend(backends, force=True)
    assert not (backends / "wasm").is_symlink()
    assert (elsewhere / "file").read_text() == "kept"


def test_a_path_that_cannot_be_written_is_an_error_that_names_it(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = cli("install-backend", tmp_path / "file" / "backends")
    assert done.returncode == 2
    assert f"cannot write to {tmp_path}/file/backends: Not a directory" in done.stderr


@pytest.mark.triton
@pytest.mark.slow
def test_it_serves_where_only_wasmtime_and_numpy_are_installed(repository: Path, tmp_path: Path) -> None:
    """The server's Python is an environment with copies of only these two packages."""
    parts.tritonserver()
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    packages = Path(sysconfig.get_paths()["purelib"])
    target = bare / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for pattern in ("wasmtime*", "numpy*"):
        for package in packages.glob(pattern):
            # skips temporary files of concurrent tests, which compile these packages
            shutil.copytree(package, target / package.name, ignore=shutil.ignore_patterns("*.pyc.*"))
    backends = create_backend_directory(tmp_path / "backends")
    shutil.rmtree(backends / "wasm")
    # without the file, the server's own Python makes the plans, as if the installing Python were missing
    (install_backend(backends) / "interpreter").unlink()
    server = TritonServer(repository, backend_directory=backends, environment={"PATH": f"{bare / 'bin'}:/usr/bin:/bin"})
    with server:
        assert add(server) == 3.0
        assert "wasm model add version 1: native, loaded" in server.log()
