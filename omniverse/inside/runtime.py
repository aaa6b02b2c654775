"""Imports portalis's runtime under a name that only this extension uses.

Kit looks for leaks after `on_shutdown`: it counts every live object of a class whose module name begins with the
extension's id. The runtime's constants (data types, choices) live as long as its modules. Therefore its package, which
is in this directory, is not imported as a subpackage of the extension.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ISLAND = "portalis_backend"
_IN_PORTALIS = "portalis.omniverse.inside"
_NAME = f"{ISLAND}:{__name__.rpartition('.')[0].replace('.', ':')}"  # without a dot, which would make it a subpackage


def runtime() -> ModuleType:
    """The runtime's package. Raises ImportError if NumPy or Wasmtime is missing."""
    if __name__.startswith(_IN_PORTALIS):  # in portalis's own tests
        return importlib.import_module("portalis.backend")
    if _NAME in sys.modules:
        return sys.modules[_NAME]
    folder = Path(__file__).parent / ISLAND
    spec = importlib.util.spec_from_file_location(
        _NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    try:
        spec.loader.exec_module(module)
        for name in dir(module):  # some names are imported on first access: import all of them now, or fail
            getattr(module, name)
    except BaseException:
        forget()
        raise
    return module


def forget() -> None:
    """Remove the runtime from Python's modules, so that a replaced extension imports its own copy."""
    if __name__.startswith(_IN_PORTALIS):
        return
    for each in [each for each in sys.modules if each == _NAME or each.startswith(f"{_NAME}.")]:
        del sys.modules[each]
