"""Creates the executor of a module: plans the entry, compiles and links the plan's modules."""

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
    """An executor for the entry of a module that satisfies `interface`: native if available, else in Python."""
    plan = plan_entry(wasm, info, interface, isolation, compiling.limits, compiling.setting_names)
    settings = EngineSettings(compiling.limits.max_stack_bytes)
    modules = [compiling.compile(module.wasm, settings, builtin=module.builtin) for module in plan.modules]
    core = native_core()
    if core is None:
        return PythonExecutor(InstancePool(plan, _link_modules(settings, modules, info, compiling, stats), on_output))
    code = [module.code for module in modules]
    block = pack_plan(plan, code, names=info.named_functions(), signals=True, struct_sizes=struct_sizes())
    return CoreExecutor(core, plan, block, stats, on_output)


def create_row_runner(
    wasm: bytes, info: ModuleInfo, entry: str, compiling: ModuleCompiler, stats: Stats
) -> InProcessRunner:
    """A runner for the rows of a WASI command, in this process."""
    settings = EngineSettings(compiling.limits.max_stack_bytes)
    return InProcessRunner(entry, _link_modules(settings, [compiling.compile(wasm, settings)], info, compiling, stats))


@functools.cache
def native_core() -> Core | None:
    """The native executor core, or None if this system has none that fits, or with PORTALIS_EXECUTOR=python."""
    path = Path(__file__).parent.parent / "lib" / platform.machine() / "libwasm_core.so"
    if sys.platform != "linux" or os.environ.get("PORTALIS_EXECUTOR") == "python" or not path.exists():
        return None
    try:
        if (reason := wasmtime_incompatibility()) is not None:
            raise ValueError(reason)
        return Core(str(path))
    except (OSError, ValueError) as error:
        _LOG.warning("guests run in Python, because %s cannot be used: %s", path, error)
        return None


def _link_modules(
    settings: EngineSettings,
    modules: Sequence[CompiledModule],
    info: ModuleInfo,
    compiling: ModuleCompiler,
    stats: Stats,
) -> LinkedModules:
    """The compiled modules of a plan, the guest first, linked for the Python executor."""

    @functools.cache
    def names() -> dict[int, str]:  # limited as in a plan, so that backtraces are identical in all executors
        return dict(backtrace_names(info.named_functions()))

    engine, (guest, *others) = engine_for(settings), [compiled.module for compiled in modules]
    linked = link_guest(engine, guest, info)
    return LinkedModules(
        engine, linked, others, lambda index: names().get(index), compiling.limits, compiling.setting_names, stats
    )
