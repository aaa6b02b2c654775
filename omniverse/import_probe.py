"""Run by `extension_checks` in a process of its own: imports the Python that was written for an extension.

    python -I -S -B import_probe.py EXTENSION_FOLDER ID

What Kit has is stood in for by modules whose names all are classes: only what is generated is looked at. Writes a JSON
list of pairs, a module and why it cannot be imported.
"""

import importlib
import importlib.abc
import importlib.machinery
import json
import runpy
import sys
import types
from collections.abc import Sequence
from pathlib import Path

KITS = ("carb", "numpy", "omni", "pxr", "usdrt", "warp", "wasmtime")


class StandIn(types.ModuleType):
    """A module that has every public name."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds Kit's modules, whatever is installed here."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] in KITS:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None: ...


def failures(folder: Path, identifier: str) -> list[tuple[str, str]]:
    """The generated modules and scripts that cannot be imported, and why."""
    sys.meta_path.insert(0, StandIns())
    sys.path.insert(0, str(folder))
    inside = folder.joinpath(*identifier.split("."))
    names = [identifier, *(f"{identifier}.nodes.{path.stem}" for path in sorted(inside.glob("nodes/*.py")))]
    found = []
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as problem:  # noqa: BLE001 (whatever it is, Kit would meet it)
            found.append((name, f"{type(problem).__name__}: {problem}"))
            if name == identifier:
                break
    scripts = sorted(folder.glob("examples/*.py"))
    for path in [*scripts, *sorted(inside.glob("tests/*.py"))]:
        try:
            if path in scripts:
                runpy.run_path(str(path), run_name="imported")
            else:
                compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        except BaseException as problem:  # noqa: BLE001
            found.append((str(path.relative_to(folder)), f"{type(problem).__name__}: {problem}"))
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(failures(Path(sys.argv[1]), sys.argv[2])))
