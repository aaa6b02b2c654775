"""The source tree: its files, and its packages according to pyproject.toml."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.parts import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def pyproject() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return table


def package_folders() -> dict[str, Path]:
    """The directory of each package of the distribution, by its dotted name."""
    setuptools = pyproject()["tool"]["setuptools"]
    moved: dict[str, str] = setuptools["package-dir"]
    folders = {}
    for package in setuptools["packages"]:
        parent = max((name for name in moved if f"{package}.".startswith(f"{name}.")), key=len)
        rest = package[len(parent) :].strip(".").replace(".", "/")
        folders[package] = ROOT / moved[parent] / rest
    return folders


def source_files() -> list[Path]:
    """Paths, relative to the root, of all files that are committed or not ignored; without Git, all except build outputs."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        names = [name for name in listed.stdout.split("\0") if name]
    else:
        excluded = (".venv", "build", "__pycache__", ".git")
        names = [
            str(path.relative_to(ROOT))
            for path in ROOT.rglob("*")
            if (path.is_symlink() or path.is_file()) and not set(path.parts) & set(excluded)
        ]
    return sorted({Path(name) for name in names if (ROOT / name).is_symlink() or (ROOT / name).is_file()})


def copy_tree(target: Path) -> Path:
    """Copy the source files, with symlinks, to `target`, which then equals a clone."""
    for name in source_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    return target
