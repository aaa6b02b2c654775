"""Pitfalls of the directory layout that cause no error by themselves (docs/decisions/0001-folders-at-the-top.md)."""

from __future__ import annotations

import ast
import fnmatch
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import ROOT

from .tree import copy_tree, package_folders, pyproject

SUBPACKAGES = ("backend", "deploy", "dist", "examples", "model_repository_gen", "nim", "omniverse", "proto")
ISLAND = sorted((ROOT / "backend").rglob("*.py"))


def imports(path: Path) -> list[tuple[int, str]]:
    """(level, module) of every import in a file, including imports in functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
            found += [(node.level, f"{node.module}.{alias.name}") for alias in node.names if node.module]
    return found


def test_every_top_level_package_has_a_relative_symlink_in_portalis() -> None:
    top = {folder.relative_to(ROOT).parts[0] for folder in package_folders().values()} - {"portalis"}
    links = {path.name: path.readlink() for path in (ROOT / "portalis").iterdir() if path.is_symlink()}
    assert links == {name: Path("..") / name for name in top}
    assert all((ROOT / "portalis" / name).is_dir() for name in links)


def test_every_folder_with_an_init_is_a_package_of_the_distribution() -> None:
    known = {folder.resolve() for folder in package_folders().values()}
    roots = [ROOT / name for name in ("portalis", *SUBPACKAGES)]
    found = {path.parent.resolve() for root in roots for path in root.rglob("__init__.py")}
    assert found <= known
    assert all(folder.is_dir() for folder in known)


def test_proto_has_no_init_that_would_shadow_another_librarys_proto() -> None:
    assert not (ROOT / "proto" / "__init__.py").exists()


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_git_ignores_no_subpackage(name: str) -> None:
    # --no-index: files that do not exist yet count too. 0: ignored, 1: not ignored, 128: git failed
    done = subprocess.run(["git", "check-ignore", "--no-index", "--quiet", f"{name}/module.py"], cwd=ROOT, check=False)
    if done.returncode == 128:
        pytest.skip("this is not a git checkout")
    assert done.returncode == 1


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_ruff_checks_every_subpackage_and_rejects_its_bare_name(tmp_path: Path, name: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    # directories whose relative imports look like the banned name are exempt from this rule
    exempt = "TID251" in pyproject()["tool"]["ruff"]["lint"]["per-file-ignores"].get(f"{name}/**", ())
    module = tmp_path / ("portalis" if exempt else name) / "module.py"
    module.parent.mkdir()
    (module.parent / "__init__.py").touch()
    banned = "deploy" if name != "deploy" else "nim"
    module.write_text(f'"""A module."""\n\nimport {name}\nfrom {banned} import something\n\nprint({name}, something)\n')
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--select=TID251", "--output-format=concise", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{module.relative_to(tmp_path)}:3:8: TID251 `{name}` is banned: say portalis.{name}" in done.stdout
    assert f":4:1: TID251 `{banned}" in done.stdout


def test_the_island_imports_only_wasmtime_numpy_and_the_standard_library() -> None:
    allowed = sys.stdlib_module_names | {"numpy", "wasmtime", "triton_python_backend_utils"}
    wrong = {
        (path.name, module)
        for path in ISLAND
        for level, module in imports(path)
        # at most as many dots as directories: a module of the island
        if (level == 0 and module.split(".")[0] not in allowed) or level > len(path.relative_to(ROOT / "backend").parts)
    }
    assert wrong == set()


def test_only_one_module_of_the_island_imports_triton_and_few_import_wasmtimes_raw_bindings() -> None:
    def importers(*modules: str) -> set[str]:
        found = {path for path in ISLAND for level, module in imports(path) if level == 0 and module in modules}
        return {str(path.relative_to(ROOT / "backend")) for path in found}

    assert importers("triton_python_backend_utils") == {"triton/model.py"}
    executor = {f"executor/{name}.py" for name in ("core_library", "host", "store")}
    assert importers("wasmtime._ffi", "wasmtime._bindings") == {"compile/engine.py", "compile/loading.py", *executor}


@pytest.mark.parametrize(
    ("library", "owner"), [("tritonclient", "triton_client.py"), ("PIL", "tensor_input.py"), ("typer", "cli")]
)
def test_a_heavy_library_is_imported_only_by_its_owner(library: str, owner: str) -> None:
    core = [path for path in (ROOT / "portalis").rglob("*.py") if not {"backend", "examples"} & set(path.parts)]
    importers = {
        path.relative_to(ROOT / "portalis").parts[0]
        for path in core
        for level, module in imports(path)
        if level == 0 and module.split(".")[0] == library
    }
    assert importers == {owner}


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_pytest_collects_the_tests_of_every_subpackage(pytestconfig: pytest.Config, name: str) -> None:
    """By default, pytest skips directories named `dist` and `build`."""
    assert not any(fnmatch.fnmatch(name, pattern) for pattern in pytestconfig.getini("norecursedirs"))


def test_import_linter_follows_the_symlinks(tmp_path: Path) -> None:
    """If it did not inspect `portalis/backend`, no contract could be broken."""
    tree = copy_tree(tmp_path)
    lint = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]

    def run() -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(tree)}
        return subprocess.run(lint, cwd=tree, env=environment, capture_output=True, text=True, check=False)

    assert run().returncode == 0
    with (tree / "backend" / "limits.py").open("a") as module:
        module.write("\nimport rich\n")
    with (tree / "backend" / "wasm" / "leb128.py").open("a") as module:
        module.write("\nfrom ..interface import signature\n")  # signature imports modules that import leb128
    with (tree / "nim" / "service" / "service.py").open("a") as module:
        module.write("\nfrom .app import Application\n")
    broken = run()
    assert broken.returncode == 1
    assert "portalis.backend is not allowed to import rich" in broken.stdout
    assert "The rooms of the backend, each above those that it uses BROKEN" in broken.stdout
    assert "No circle between files or rooms of the backend BROKEN" in broken.stdout
    assert "The rooms of the service, each above those that it uses BROKEN" in broken.stdout
    assert "No circle between files or rooms of the service BROKEN" in broken.stdout


def test_the_island_supports_python_3_10() -> None:
    for path in ISLAND:
        ast.parse(path.read_text(), feature_version=(3, 10))
        assert all(level == 1 or "tomllib" not in module for level, module in imports(path)), path
    assert pyproject()["project"]["requires-python"] == ">=3.10"


def test_python_imports_the_same_files_through_the_symlink() -> None:
    import portalis.backend

    assert Path(portalis.backend.__file__).resolve() == (ROOT / "backend" / "__init__.py").resolve()


def test_importing_the_core_loads_no_server_libraries() -> None:
    program = "import sys, portalis.tritonserver; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"wasmtime", "numpy", "portalis.backend", "tritonclient"}.isdisjoint(done.stdout.split())
