"""The wheel, built from the sdist of a clone's files and installed in a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import portalis
from tests.parts import ROOT

from .tree import copy_tree, package_folders, pyproject, source_files

pytestmark = [pytest.mark.slow, pytest.mark.bulk]
VERSION = portalis.__version__
ZIG = "ziglang==0.17.1"
BUILT = (
    "adapter/adapter.wasm",
    "lib/aarch64/libtriton_wasm.so",
    "lib/aarch64/libwasm_core.so",
    "lib/x86_64/libtriton_wasm.so",
    "lib/x86_64/libwasm_core.so",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the sdist and the wheel."""
    tree = copy_tree(tmp_path_factory.mktemp("tree"))
    wheels = tree / "build" / "wheels"
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(wheels)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert not (tree / "dist").exists() or not list((tree / "dist").glob("portalis-*"))
    return wheels


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a virtual environment in which only the wheel is installed."""
    environment = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (wheel,) = built.glob("*.whl")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", str(wheel)]
    python = str(environment / "bin" / "python")
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True)
    return environment


def site_packages(environment: Path) -> Path:
    (folder,) = environment.glob("lib/python*/site-packages")
    return folder


def run(environment: Path, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with the wheel's portalis and the other packages of this environment.

    An editable portalis of this environment is not used: a .pth file activates it, and PYTHONPATH ignores such files.
    """
    variables = os.environ | {"PYTHONPATH": sysconfig.get_paths()["purelib"]}
    return subprocess.run(
        [str(environment / "bin" / command[0]), *command[1:]],
        cwd=cwd,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def expected_files() -> dict[str, Path]:
    """The files that the wheel must contain, by their names in it.

    They are the modules, py.typed, all files of the examples, and the adapter and the native libraries with sources.
    """
    data = {
        "portalis": ("py.typed",),
        "portalis.backend": ("adapter/*", "lib/*/*.so", "native/*"),
        "portalis.dist.archive": ("templates/*",),
        "portalis.examples": ("**/*",),
        "portalis.nim": ("requirements.txt", "templates/*"),
        "portalis.nim.triton": ("Dockerfile.triton", "requirements.txt"),
        "portalis.omniverse": ("templates/*",),
        "portalis.proto": ("templates/*",),
        "portalis.publishing": ("templates/*",),
    }
    assert set(pyproject()["tool"]["setuptools"]["package-data"]) == set(data)
    tracked = {ROOT / name for name in source_files()}
    files: dict[str, Path] = {}
    for package, folder in package_folders().items():
        inside = {path for path in tracked if path.parent == folder and path.suffix == ".py" and not path.is_symlink()}
        for pattern in data.get(package, ()):
            inside |= {path for path in folder.glob(pattern) if path in tracked and path.is_file()}
        files |= {f"{package.replace('.', '/')}/{path.relative_to(folder)}": path for path in inside}
    return files


def test_the_wheel_contains_exactly_the_source_files(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"portalis-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    metadata = {name for name in contents if name.startswith(f"portalis-{VERSION}.dist-info/")}
    expected = expected_files()
    assert sorted(set(contents) - metadata) == sorted(expected)
    assert [name for name, path in expected.items() if contents[name] != path.read_bytes()] == []
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_the_sdist_contains_the_files_for_a_build_and_no_build_output(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "README.md", "LICENSE", "backend/program.py", "portalis/errors.py"} <= names
    sources = {
        str(name) for name in source_files() if name.parts[:2] in (("backend", "native"), ("backend", "adapter"))
    }
    assert {".ci/native", *sources, *(f"backend/{name}" for name in BUILT)} <= names
    assert not [name for name in names if name.startswith((".venv", "build/")) or name.endswith(".pyc")]


def test_only_portalis_is_installed_in_site_packages(installed: Path) -> None:
    found = {path.name for path in site_packages(installed).iterdir()}
    assert found == {"portalis", f"portalis-{VERSION}.dist-info"}
    assert not [path for path in (site_packages(installed) / "portalis").rglob("*") if path.is_symlink()]


def test_the_installed_command_runs_a_shipped_example(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "portalis", "--version", cwd=tmp_path)
    assert done.stdout == f"portalis {VERSION}\n", done.stderr
    module = site_packages(installed) / "portalis" / "examples" / "gelu" / "gelu.wasm"
    save = f"y=@{tmp_path}/y.npy"
    done = run(installed, "portalis", "infer", "--module", str(module), "-i", "x=[[0, 1]]", "-o", save, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), [[0, 0.8413447]], rtol=1e-5)


def test_the_installed_proto_has_its_templates(installed: Path, tmp_path: Path) -> None:
    program = "import portalis.proto.documentation_target as t; from portalis.proto.proto_file import models_proto, shared_files;"
    program += " print(models_proto('a', ()).count('syntax'), len(shared_files()))"
    done = run(installed, "python", "-c", program, cwd=tmp_path)
    assert done.stdout == "1 2\n", done.stderr


def test_the_installed_command_finds_the_examples_of_the_demo(installed: Path, tmp_path: Path) -> None:
    program = "from portalis.examples.catalog import EXAMPLES as e; print(all(x.module.is_file() for x in e.values()))"
    assert run(installed, "python", "-c", program, cwd=tmp_path).stdout == "True\n"


def test_the_installed_command_installs_the_same_backend_as_the_source(installed: Path, tmp_path: Path) -> None:
    from portalis.wasm_backend import install_backend

    def tree(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    done = run(installed, "portalis", "install-backend", str(tmp_path / "wheel"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    wheel, source = tree(tmp_path / "wheel"), tree(install_backend(tmp_path / "source").parent)
    assert wheel.pop("wasm/interpreter").decode() == f"{installed}/bin/python\n"
    assert source.pop("wasm/interpreter").decode() == f"{sys.executable}\n"
    assert wheel == source


BUILD_WITHOUT = """
import sys
target, *gone = sys.argv[1:]  # setuptools reads sys.argv
sys.path.insert(0, ".ci")
import build_backend as backend
assert backend.missing() == [], backend.missing()
for name in gone:
    (backend.ROOT / "backend" / name).unlink()
assert backend.missing() == gone, backend.missing()
needs = backend.get_requires_for_build_wheel()
backend.build_wheel(target)
print("needs", *needs)
"""


def test_native_files_that_a_source_archive_lacks_are_built_first(built: Path, tmp_path: Path) -> None:
    """Distributions that accept no binaries remove them; the build then requires Zig."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as source:
        source.extractall(tmp_path)
    (tree,) = tmp_path.glob("portalis-*")
    command = [sys.executable, "-c", BUILD_WITHOUT, str(tmp_path), *BUILT[:2]]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == f"needs {ZIG}"
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        native = {name: archive.read(f"portalis/backend/{name}") for name in BUILT}
    assert native == {name: (ROOT / "backend" / name).read_bytes() for name in BUILT}


def test_the_build_requires_the_version_of_zig_that_built_the_committed_files() -> None:
    assert ZIG in pyproject()["project"]["optional-dependencies"]["test"]
    assert f'ZIG = "{ZIG}"\n' in (ROOT / ".ci" / "build_backend.py").read_text()
