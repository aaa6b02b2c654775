"""From a module to what runs it: the plan's parts compiled, linked, and given to an executor."""

from __future__ import annotations

import functools
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from ..compile.engine import EngineSettings, engine_for
from ..compile.loading import Compiled, Compiling
from ..interface.interface import Interface
from ..plan import layout
from ..plan.planner import Isolation, plan
from ..wasm.binary import ModuleInfo
from . import host
from .core_executor import CoreExecutor
from .core_library import Core, layouts
from .executor import Executor, OnOutput, Stats
from .instance_pool import Boxes
from .python_executor import PythonExecutor
from .store import Parts
from .wasi_command import Sandboxed
from .wasmtime_version import misfit

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
    if core is None:
        return PythonExecutor(Boxes(made, _linked(settings, parts, info, compiling, stats), on_output))
    code = [part.code for part in parts]
    block = layout.pack(made, code, names=info.named_functions(), signals=True, layouts=layouts())
    return CoreExecutor(core, made, block, stats, on_output)


def sandboxed(wasm: bytes, info: ModuleInfo, entry: str, compiling: Compiling, stats: Stats) -> Sandboxed:
    """What runs the rows of a WASI program in this process."""
    settings = EngineSettings(compiling.limits.max_stack_bytes)
    return Sandboxed(entry, _linked(settings, [compiling.compile(wasm, settings)], info, compiling, stats))


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


def _linked(
    settings: EngineSettings, parts: Sequence[Compiled], info: ModuleInfo, compiling: Compiling, stats: Stats
) -> Parts:
    """The parts of a plan, the guest's first, as Python runs them."""

    @functools.cache
    def names() -> dict[int, str]:  # that a plan has room for: backtraces are the same whoever executes it
        return dict(layout.shown(info.named_functions()))

    engine, (guest, *others) = engine_for(settings), [part.module for part in parts]
    linked = host.link(engine, guest, info)
    return Parts(engine, linked, others, lambda index: names().get(index), compiling.limits, compiling.terms, stats)
