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
from ..compile.loading import CompiledModule, ModuleCompiler
from ..interface.interface import Interface
from ..plan.layout import backtrace_names, pack_plan
from ..plan.planner import Isolation, plan_entry
from ..wasm.binary import ModuleInfo
from .core_executor import CoreExecutor
from .core_library import Core, struct_sizes
from .executor import Executor, OnOutput, Stats
from .host import link_guest
from .instance_pool import InstancePool
from .python_executor import PythonExecutor
from .store import LinkedModules
from .wasi_command import InProcessRunner
from .wasmtime_version import wasmtime_incompatibility

_LOG = logging.getLogger(__name__)


def create_executor(
    wasm: bytes,
    info: ModuleInfo,
    interface: Interface,
    isolation: Isolation,
    compiling: ModuleCompiler,
    stats: Stats,
    on_output: OnOutput | None,
) -> Executor:
    """What runs the entry of a module that `interface` fits."""
    made = plan_entry(wasm, info, interface, isolation, compiling.limits, compiling.setting_names)
    settings = EngineSettings(compiling.limits.max_stack_bytes)
    modules = [compiling.compile(module.wasm, settings, own=module.own) for module in made.modules]
    core = native_core()
    if core is None:
        return PythonExecutor(InstancePool(made, _link_modules(settings, modules, info, compiling, stats), on_output))
    code = [module.code for module in modules]
    block = pack_plan(made, code, names=info.named_functions(), signals=True, layouts=struct_sizes())
    return CoreExecutor(core, made, block, stats, on_output)


def create_row_runner(
    wasm: bytes, info: ModuleInfo, entry: str, compiling: ModuleCompiler, stats: Stats
) -> InProcessRunner:
    """What runs the rows of a WASI program in this process."""
    settings = EngineSettings(compiling.limits.max_stack_bytes)
    return InProcessRunner(entry, _link_modules(settings, [compiling.compile(wasm, settings)], info, compiling, stats))


@functools.cache
def native_core() -> Core | None:
    """The native executor, where there is one that fits; PORTALIS_EXECUTOR=python does without."""
    path = Path(__file__).parent.parent / "lib" / platform.machine() / "libwasm_core.so"
    if sys.platform != "linux" or os.environ.get("PORTALIS_EXECUTOR") == "python" or not path.exists():
        return None
    try:
        if (why := wasmtime_incompatibility()) is not None:
            raise ValueError(why)
        return Core(str(path))
    except (OSError, ValueError) as problem:
        _LOG.warning("guests run in Python, because %s cannot be used: %s", path, problem)
        return None


def _link_modules(
    settings: EngineSettings,
    modules: Sequence[CompiledModule],
    info: ModuleInfo,
    compiling: ModuleCompiler,
    stats: Stats,
) -> LinkedModules:
    """The parts of a plan, the guest's first, as Python runs them."""

    @functools.cache
    def names() -> dict[int, str]:  # that a plan has room for: backtraces are the same whoever executes it
        return dict(backtrace_names(info.named_functions()))

    engine, (guest, *others) = engine_for(settings), [compiled.module for compiled in modules]
    linked = link_guest(engine, guest, info)
    return LinkedModules(
        engine, linked, others, lambda index: names().get(index), compiling.limits, compiling.setting_names, stats
    )
