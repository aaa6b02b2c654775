"""`Program`: a WebAssembly module that runs on NumPy tensors. The public API of the runtime."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .batch.batch import Batch, OnResult, Result, wasm_error
from .batch.coalesce import BatchItem, Group, Pieces, group_items, item_pieces, single_pieces, split_outputs
from .batch.request_checks import RequestChecker, is_exact
from .compile.cache import CompileCache
from .compile.loadable import check_loadable, import_problems, limit_problems, raise_load_problems
from .compile.loading import ModuleCompiler, Source, read_source, source_name
from .errors import GuestError, GuestTimeout, InputError, SettingsError, Trap
from .executor.executor import Deadline, Executor, OnOutput, Stats
from .executor.executor_factory import create_executor, create_row_runner
from .executor.threads import GuestThreads, ThreadedExecutor
from .executor.wasi_command import CommandExecutor, RunRow
from .interface.checks import check_interface
from .interface.discovery import discover
from .interface.interface import Convention, Interface, core_ranks
from .limits import Limits
from .messages import bounded_name
from .plan.planner import Isolation
from .setting_names import PYTHON_NAMES, SettingNames
from .wasm.binary import ModuleInfo, read_module

MAX_THREADS = 64
DEFAULT_CACHE: Any = object()
"""Selects the default cache directory; None means no cache."""


class Program:
    """A loaded module.

    Create one with `load`, use it from any thread, and close it with `close` or ``with``.
    """

    def __init__(
        self,
        info: ModuleInfo,
        interface: Interface,
        limits: Limits,
        isolation: Isolation,
        workers: GuestThreads,
        stats: Stats,
        runner: Executor,
    ) -> None:
        self.info = info
        self.interface = interface
        self.limits = limits
        self.isolation = isolation
        self._stats = stats
        self._workers = workers
        self._runner = runner
        threaded = workers.count > 1 and not isinstance(runner, CommandExecutor)  # a command runs its rows on them
        self._caller = ThreadedExecutor(runner, interface, workers) if threaded else runner
        self._checker = RequestChecker(interface)
        self._outputs = tuple(spec.name for spec in interface.outputs)
        self._cores = None if is_exact(interface) else core_ranks(interface)
        self._coalesces = interface.max_batch_size > 0 and isolation is not Isolation.REQUEST

    @property
    def stats(self) -> Stats:
        """Counters of all calls so far."""
        self._runner.update_stats()
        return self._stats

    @property
    def copies_inputs_once(self) -> bool:
        """Whether a guest call reads inputs of numbers only to copy them to the guest, each byte once: then they can be
        in memory that other processes change."""
        return self._runner.copies_inputs_once

    @classmethod
    def load(
        cls,
        source: Source,
        *,
        interface: Interface | Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        isolation: str = "batch",
        threads: int = 1,
        cache: CompileCache | None = DEFAULT_CACHE,
        trusted: bool = False,
        on_output: OnOutput | None = None,
        setting_names: SettingNames = PYTHON_NAMES,
        name: str = "",
    ) -> Program:
        """Read, check and compile a module (a path or its bytes).

        `interface` overrides the module's own declaration, entirely (Interface) or in part (a mapping with the keys of
        the ``portalis`` section). `isolation` is ``request``, ``batch`` or ``instance``. `threads` splits a batch over
        that many threads. `cache` stores compiled code (None: no cache). `trusted` compiles in this process.
        `on_output` receives each line that the guest writes: ``on_output("stdout", line)``. Errors name settings as in
        `setting_names`, and the module as `name` (default: its path).

        Raises ModuleError, InterfaceError or SettingsError.
        """
        limits = limits or Limits()
        if isolation not in [i.value for i in Isolation]:
            raise SettingsError(f"isolation must be one of {', '.join(i.value for i in Isolation)}, not {isolation!r}")
        if not 1 <= threads <= MAX_THREADS:
            raise SettingsError(f"threads must be from 1 to {MAX_THREADS}, not {threads}")
        name = name or source_name(source)
        wasm = read_source(source, limits, setting_names)
        info = read_module(wasm, name)
        if isinstance(interface, Interface):
            # raw calls require a checked interface
            check_interface(info, interface, where=name, setting_names=setting_names)
        else:
            interface = discover(info, interface, where=name, setting_names=setting_names)
        check_loadable(info, interface, limits, where=name, setting_names=setting_names)
        store = CompileCache() if cache is DEFAULT_CACHE else cache
        stats, workers, lives = Stats(), GuestThreads(threads), Isolation(isolation)
        compiling = ModuleCompiler(limits, store, trusted, name, setting_names)
        if interface.convention is Convention.COMMAND:
            row = create_row_runner(wasm, info, interface.entry, compiling, stats)
            runner: Executor = CommandExecutor(interface, row, workers, limits.max_tensor_bytes, setting_names)
        else:
            runner = create_executor(wasm, info, interface, lives, compiling, stats, on_output)
        return cls(info, interface, limits, lives, workers, stats, runner)

    @classmethod
    def from_command(
        cls,
        source: str | os.PathLike[str],
        run_row: RunRow,
        *,
        interface: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        threads: int = 1,
        setting_names: SettingNames = PYTHON_NAMES,
    ) -> Program:
        """A WASI command that a different runtime runs, row by row, through `run_row`. The module is not compiled here.

        Raises ModuleError, InterfaceError, or SettingsError for a module of a different convention.
        """
        limits, name = limits or Limits(), os.fspath(source)
        info = read_module(read_source(source, limits, setting_names), name)
        found = discover(info, interface, where=name, setting_names=setting_names)
        if found.convention is not Convention.COMMAND:
            raise SettingsError(
                f"{name}: expected the convention command for an external runtime, got {found.convention.value}"
            )
        # the other runtime can provide more, such as sockets, which guests must not use
        refused = [*import_problems(info), *limit_problems(info.memories, info.size, limits)]
        raise_load_problems(refused, where=name, setting_names=setting_names)
        workers = GuestThreads(threads)
        runner = CommandExecutor(found, run_row, workers, limits.max_tensor_bytes, setting_names)
        return cls(info, found, limits, Isolation.BATCH, workers, Stats(), runner)

    def run(self, inputs: Mapping[str, Any], *, timeout_s: float | None = None) -> dict[str, np.ndarray]:
        """Run once. `inputs` maps names to arrays of the declared dtypes, the batch dimension included.

        BYTES tensors are object arrays of ``bytes``, BF16 tensors uint16 arrays of raw bits. Returns the outputs by
        name. Raises InputError, or GuestError when the guest fails.
        """
        return self._run_one(inputs, timeout_s, False)

    def run_batch(
        self,
        requests: Sequence[Mapping[str, Any]],
        *,
        timeouts_s: Sequence[float | None] | None = None,
        borrow: bool = False,
        check_cancelled: Callable[[int], None] | None = None,
        on_result: OnResult | None = None,
    ) -> list[Result]:
        """Run several requests, joined along axis 0 if their shapes allow.

        An error is the result of its own request only, also an unexpected exception (InternalError, with the traceback
        in the log). With `borrow` the outputs can be views of guest memory, valid until the next call of any thread.
        `check_cancelled` is called with the index of a request before each guest call for that request alone, and
        raises Cancelled to skip it. After a call has failed, `on_result` receives each result with its index as soon as
        it is known, while others can still run; all results are returned too. Both are called in this thread.
        """
        if len(requests) == 1 and check_cancelled is None and on_result is None:
            try:
                return [self._run_one(requests[0], timeouts_s[0] if timeouts_s else None, borrow)]
            except Exception as error:  # noqa: BLE001  # an internal error is the result of its request, too
                return [wasm_error(error)]
        batch = Batch(
            self._run_group,
            check_cancelled=check_cancelled,
            on_result=on_result,
            parallel=1 if self.isolation is Isolation.INSTANCE else MAX_THREADS,
        )
        items = []
        for index, request in enumerate(requests):
            try:
                arrays = self._checker.check(request)
                timeout_s = self._timeout(timeouts_s[index] if timeouts_s else None)
                items.append(BatchItem(index, arrays, timeout_s))
            except Exception as error:  # noqa: BLE001  # an internal error affects only its own request
                batch.settle(index, wasm_error(error))
        if len(items) > 1 and self._coalesces:
            max_rows = self.interface.max_batch_size if self._cores is None else 1 << 62
            groups = group_items(items, max_rows, self._cores)
        else:
            groups = [[item] for item in items]
        batch.run(groups, borrow and len(groups) == 1)
        return [batch.results[index] for index in range(len(requests))]

    def _run_one(self, request: Mapping[str, Any], timeout_s: float | None, borrow: bool) -> dict[str, np.ndarray]:
        pieces = single_pieces(self._checker.check(request))
        return dict(zip(self._outputs, self._call(pieces, self._timeout(timeout_s), borrow)))

    def reset(self) -> None:
        """Free the idle instances, and with them the state that isolation ``instance`` keeps.

        The next call starts a new instance. No other thread may call the program meanwhile.
        """
        self._runner.close()

    def close(self) -> None:
        """Free the idle instances and end the threads. Returned arrays stay valid."""
        self._runner.close()
        self._workers.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _timeout(self, requested: float | None) -> float:
        limit = self.limits.timeout_s
        if requested is None:
            return limit
        if not requested > 0:
            raise InputError(f"the time limit must be a positive number of seconds, not {requested!r}")
        return min(requested, limit)

    def _run_group(self, group: Group, timeout_s: float, borrow: bool) -> list[dict[str, np.ndarray]]:
        """Run `group` in one guest call; returns the outputs of each request."""
        outputs = self._call(item_pieces(group), timeout_s, borrow)
        return [dict(zip(self._outputs, own)) for own in split_outputs(outputs, group)]

    def _call(self, inputs: Sequence[Pieces | None], timeout_s: float, borrow: bool) -> list[np.ndarray]:
        """Run one guest call, or one per thread, and count it. Errors name the entry."""
        began, trapped, timed_out = time.perf_counter(), False, False
        try:
            return self._caller.run(inputs, Deadline(timeout_s), borrow)
        except GuestError as error:
            trapped, timed_out = isinstance(error, Trap), isinstance(error, GuestTimeout)
            error.args = (f"entry '{bounded_name(self.interface.entry)}': {error}",)
            raise
        finally:
            self._stats.count_call(time.perf_counter() - began, trapped, timed_out)
