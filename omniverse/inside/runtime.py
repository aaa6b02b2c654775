"""The runtime of portalis, under a name that only this extension uses.

Kit looks for leaks after `on_shutdown`: it counts every live object of a class whose module's name begins with the
extension's id. The runtime has constants (data types, choices) that live as long as its modules do, so its package,
which lies in this folder, is not imported as a part of this one.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ISLAND = "portalis_backend"
_IN_PORTALIS = "portalis.omniverse.inside"
_NAME = f"{ISLAND}:{__name__.rpartition('.')[0].replace('.', ':')}"  # without a dot, which would make it a part


def runtime() -> ModuleType:
    """The runtime. Raises ImportError where NumPy or Wasmtime is not there."""
    if __name__.startswith(_IN_PORTALIS):  # in portalis itself, whose tests run these modules
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
        for name in dir(module):  # some are imported when they are asked for: all of them now, or none
            getattr(module, name)
    except BaseException:
        forget()
        raise
    return module


def forget() -> None:
    """Take the runtime out of Python's modules, so that an extension that was replaced meanwhile brings its own."""
    if __name__.startswith(_IN_PORTALIS):
        return
    for each in [each for each in sys.modules if each == _NAME or each.startswith(f"{_NAME}.")]:
        del sys.modules[each]
