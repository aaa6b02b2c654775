"""Every third-party package that the product imports is declared in pyproject.toml."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .tree import package_folders, pyproject

# import names that differ from the name of their distribution
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cyclonedx": "cyclonedx-python-lib",
    "grpc": "grpcio",
    "markdown_it": "markdown-it-py",
    "yaml": "pyyaml",
}
# import names that are not declared, and the reason
UNDECLARED = {
    "anyio": "the interface of Starlette",
    "carb": "part of Omniverse Kit",
    "google": "protobuf's messages are the interface of tritonclient and grpcio-tools",
    "omni": "part of Omniverse Kit",
    "packageurl": "the type of purls in cyclonedx-python-lib",
    "portalis": "the package itself",
    "portalis_backend": "a copy of portalis.backend in an image",
    "pxr": "part of Omniverse Kit",
    "pydantic_core": "the interface of pydantic",
    "starlette": "the interface of FastAPI",
    "triton_python_backend_utils": "part of Triton's Python backend",
    "typing_extensions": "a dependency of pydantic and typer",
}
DEVELOPMENT = {"dev", "lint", "mutation", "test"}  # extras that users do not install


def third_party_imports() -> dict[str, Path]:
    """For each third-party import name, one file that imports it."""
    return {
        name: path
        for folder in package_folders().values()
        if "examples" not in folder.parts
        for path in sorted(folder.glob("*.py"))
        for name in imported_names(path)
        if name not in sys.stdlib_module_names
    }


def imported_names(path: Path) -> Iterator[str]:
    """The top-level names that a module imports absolutely."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def declared() -> set[str]:
    """The names of the distributions in `dependencies` and in the extras for users."""
    project = pyproject()["project"]
    extras = [texts for name, texts in project["optional-dependencies"].items() if name not in DEVELOPMENT]
    texts = [text for group in (project["dependencies"], *extras) for text in group]
    return {canonicalize_name(Requirement(text).name) for text in texts}


def test_each_third_party_import_is_declared() -> None:
    known = declared()
    undeclared = {
        name: str(path)
        for name, path in third_party_imports().items()
        if canonicalize_name(DISTRIBUTIONS.get(name, name)) not in known and name not in UNDECLARED
    }
    assert undeclared == {}


def test_each_exception_is_imported_and_undeclared() -> None:
    imports, known = third_party_imports(), declared() - {"portalis"}
    assert [name for name in UNDECLARED if name not in imports or canonicalize_name(name) in known] == []
