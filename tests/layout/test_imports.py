"""The graph of imports between the files of the product."""

from __future__ import annotations

import ast
import collections
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from .tree import package_folders

# modules of several packages: indexes, entry points, a package's errors, an application (Typer, FastAPI)
SHARED_MODULES = {"__init__", "__main__", "app", "errors"}
SHARED_CLASSES = {"InputError"}  # an error of the runtime, and one in the schema of the error contract
SHARED_FUNCTIONS = {
    "main",  # entry points
    *("skip_reason", "spec_problems", "generate", "run", "write"),  # protocols that modules satisfy
    "install_backend",  # a command and what it calls
    "parse_json",  # the service imports nothing of portalis
}
EMITTED = "portalis.omniverse.inside"  # copied into extensions, whose users know these names


def product_modules() -> dict[str, Path]:
    """Path of each module, by its dotted name; examples are data."""
    folders = {name: folder for name, folder in package_folders().items() if name != "portalis.examples"}
    return {
        name if path.stem == "__init__" else f"{name}.{path.stem}": path
        for name, folder in folders.items()
        for path in folder.glob("*.py")
    }


MODULES = product_modules()


def imported(name: str, path: Path, text: str | None = None) -> Iterator[str]:
    """Modules that a module imports at the top level, in functions, and under TYPE_CHECKING, with their packages."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(text or path.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])
            found = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for each in found:
            module = each if each in MODULES else each.rpartition(".")[0]
            parts = module.split(".")
            packages = {".".join(parts[:end]) for end in range(1, len(parts))}
            yield from (
                each
                for each in {module, *packages}
                if each in MODULES and each != name and not name.startswith(f"{each}.")
            )


def graph() -> dict[str, set[str]]:
    return {name: set(imported(name, path)) for name, path in MODULES.items()}


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """The modules of one cycle; empty if the graph has none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_the_import_graph_has_no_cycle() -> None:
    assert cycle(graph()) == []


@pytest.mark.parametrize(
    "statement",
    [
        "from .program import Program",
        "def f():\n    from . import program",
        "if TYPE_CHECKING:\n    from .program import Program",
    ],
)
def test_a_cycle_is_found_with_any_kind_of_import(statement: str) -> None:
    name = "portalis.backend.limits"
    edges = graph() | {name: set(imported(name, MODULES[name], statement))}
    assert {name, "portalis.backend.program"} <= set(cycle(edges))


def duplicates(names: Iterable[str], shared: set[str]) -> dict[str, int]:
    """Names that more than one place has, except those that are `shared` on purpose."""
    return {name: count for name, count in collections.Counter(names).items() if count > 1 and name not in shared}


def definitions(kind: type[ast.ClassDef | ast.FunctionDef]) -> Iterator[str]:
    """Public names that modules define at their top level."""
    for name, path in MODULES.items():
        if not name.startswith(EMITTED):
            body = ast.parse(path.read_text()).body
            yield from (node.name for node in body if isinstance(node, kind) and not node.name.startswith("_"))


def test_names_of_modules_classes_and_functions_are_unique() -> None:
    modules = [path.stem for name, path in MODULES.items() if not name.startswith(EMITTED)]
    assert duplicates(modules, SHARED_MODULES) == {}
    assert duplicates(definitions(ast.ClassDef), SHARED_CLASSES) == {}
    assert duplicates(definitions(ast.FunctionDef), SHARED_FUNCTIONS) == {}


def test_sizes_of_modules_and_functions_are_limited() -> None:
    """Commands are longer because of their options."""
    texts = {name: path.read_text() for name, path in MODULES.items()}
    assert [name for name, text in texts.items() if text.count("\n") > 300] == []
    long = [
        f"{name}.{node.name}"
        for name, text in texts.items()
        if not name.startswith("portalis.cli.")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert long == []
