"""Imports the generated Python modules of an extension; `extension_checks` runs this script in a separate process.

    python -I -S -B import_probe.py EXTENSION_DIRECTORY ID

Kit's modules are replaced by stubs in which every name is a class, so that only the generated code is tested. Prints a
JSON list of pairs: a module that cannot be imported, and the reason.
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

_STUBBED = ("carb", "numpy", "omni", "pxr", "usdrt", "warp", "wasmtime")


class StubModule(types.ModuleType):
    """A module in which every public name is a class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stubs for Kit's modules, regardless of the installed packages."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a stub; None for other modules."""
        if fullname.partition(".")[0] in _STUBBED:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """A new stub."""
        return StubModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Do nothing: a stub has no code."""


def failures(folder: Path, identifier: str) -> list[tuple[str, str]]:
    """The generated modules and scripts that cannot be imported, each with the reason."""
    sys.meta_path.insert(0, StubFinder())
    sys.path.insert(0, str(folder))
    inside = folder.joinpath(*identifier.split("."))
    names = [identifier, *(f"{identifier}.nodes.{path.stem}" for path in sorted(inside.glob("nodes/*.py")))]
    failed = []
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001 (any exception would also occur in Kit)
            failed.append((name, f"{type(error).__name__}: {error}"))
            if name == identifier:
                break
    scripts = sorted(folder.glob("examples/*.py"))
    for path in [*scripts, *sorted(inside.glob("tests/*.py"))]:
        try:
            if path in scripts:
                runpy.run_path(str(path), run_name="imported")
            else:
                compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        except BaseException as error:  # noqa: BLE001
            failed.append((str(path.relative_to(folder)), f"{type(error).__name__}: {error}"))
    return failed


if __name__ == "__main__":
    sys.stdout.write(json.dumps(failures(Path(sys.argv[1]), sys.argv[2])))
