"""From a module to what runs it: the plan's parts compiled, linked, and given to an executor."""

from __future__ import annotations

import functools
import logging
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import wasmtime

from ..compile.compiling import Compiling
from ..compile.engine import EngineSettings, default_settings, engine_for
from ..interface.interface import Interface
from ..plan import layout
from ..plan.planner import Isolation, plan
from ..wasm.binary import ModuleInfo
from . import host, native
from .box import Boxes, Deadline, OnOutput, Parts, Stats, Supply
from .core_executor import Core, CoreExecutor, layouts
from .python_executor import Pieces, PythonExecutor

_LOG = logging.getLogger(__name__)


class Executor(Protocol):
    """Runs the calls of one plan."""

    def run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        """The outputs for `inputs`, in the interface's order; the pieces of one are joined along axis 0."""

    def observe(self) -> None:
        """Bring the program's counters up to date."""

    def close(self) -> None:
        """Let go of the instances that are kept."""


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
    settings = default_settings(compiling.limits.max_stack_bytes)
    modules = [compiling.compile(part.wasm, settings, own=part.own) for part in made.parts]
    core = native_core()
    if core is not None:
        code = [module.serialize() for module in modules]
        block = layout.pack(made, code, names=info.named_functions(), signals=True, layouts=layouts())
        return CoreExecutor(core, made, block, stats, on_output)
    return PythonExecutor(Boxes(made, supply(settings, modules, info), stats, on_output, info.function_name))


@functools.cache
def native_core() -> Core | None:
    """The native executor, where there is one that fits; PORTALIS_EXECUTOR=python does without."""
    path = Path(__file__).parent.parent / "lib" / platform.machine() / "libwasm_core.so"
    if sys.platform != "linux" or os.environ.get("PORTALIS_EXECUTOR") == "python" or not path.exists():
        return None
    try:
        return Core(str(path))
    except (OSError, ValueError) as problem:
        _LOG.warning("guests run in Python, because %s cannot be used: %s", path, problem)
        return None


def supply(settings: EngineSettings, modules: Sequence[wasmtime.Module], info: ModuleInfo) -> Supply:
    """The modules, linked; without a pool their machine code is the same."""

    def make() -> Parts:
        other = replace(settings, pooling=False)
        return _linked(other, [native.deserialize(engine_for(other), module.serialize()) for module in modules], info)

    return Supply(_linked(settings, modules, info), make if settings.pooling else None)


def _linked(settings: EngineSettings, modules: Sequence[wasmtime.Module], info: ModuleInfo) -> Parts:
    engine = engine_for(settings)
    return Parts(engine, host.link(engine, modules[0], info), tuple(modules[1:]))
