"""From a module to what runs it: the plan's parts compiled, linked, and given to an executor."""

from __future__ import annotations

import functools
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import wasmtime

from ..compile.engine import EngineSettings, engine_for
from ..compile.loading import Compiling
from ..interface.interface import Interface
from ..plan import layout
from ..plan.planner import Isolation, plan
from ..wasm.binary import ModuleInfo
from . import host
from .box import Boxes, Parts
from .core_executor import CoreExecutor
from .core_library import Core, layouts
from .executor import Executor, OnOutput, Stats
from .fitting import misfit
from .python_executor import PythonExecutor

_LOG = logging.getLogger(__name__)


def executor(
    wasm: bytes,
    info: ModuleInfo,
    interface: Interface,
    isolation: Isolation,
    compiling: Compiling,
    stats: Stats,
    on_output: OnOutput | None,
) -> Executor:
    """What runs the entry of a module that `interface` fits."""
    made = plan(wasm, info, interface, isolation, compiling.limits, compiling.terms)
    settings = EngineSettings(compiling.limits.max_stack_bytes)
    parts = [compiling.compile(part.wasm, settings, own=part.own) for part in made.parts]
    core = native_core()
    if core is not None:
        block = layout.pack(
            made, [part.code for part in parts], names=info.named_functions(), signals=True, layouts=layouts()
        )
        return CoreExecutor(core, made, block, stats, on_output)
    return PythonExecutor(Boxes(made, linked(settings, [part.module for part in parts], info), stats, on_output))


@functools.cache
def native_core() -> Core | None:
    """The native executor, where there is one that fits; PORTALIS_EXECUTOR=python does without."""
    path = Path(__file__).parent.parent / "lib" / platform.machine() / "libwasm_core.so"
    if sys.platform != "linux" or os.environ.get("PORTALIS_EXECUTOR") == "python" or not path.exists():
        return None
    try:
        if (why := misfit()) is not None:
            raise ValueError(why)
        return Core(str(path))
    except (OSError, ValueError) as problem:
        _LOG.warning("guests run in Python, because %s cannot be used: %s", path, problem)
        return None


def linked(settings: EngineSettings, modules: Sequence[wasmtime.Module], info: ModuleInfo) -> Parts:
    """The modules of a plan, the guest's first, as Python runs them."""

    @functools.cache
    def names() -> dict[int, str]:
        return dict(layout.shown(info.named_functions()))

    engine = engine_for(settings)
    # names are those that a plan has room for: backtraces are the same whoever executes it
    return Parts(engine, host.link(engine, modules[0], info), modules[1:], lambda index: names().get(index))
