"""`Program`: a WebAssembly module that runs on NumPy tensors. The public face of the runtime."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from . import messages
from .batch import coalesce
from .batch.batch import Batch, OnResult, Result, internal_error
from .batch.coalesce import Group, Job
from .batch.validation import Checker
from .compile import loadable
from .compile.cache import CompileCache
from .compile.engine import default_settings, engine_for
from .compile.loading import Source, load, name_of, read_source
from .errors import GuestError, GuestTimeout, InputError, SettingsError, Trap, WasmError
from .executor.command import Command, RunRow
from .executor.dlpack import Dlpack
from .executor.faults import GuestExit
from .executor.gufunc import Gufunc
from .executor.parallel import Workers
from .executor.runners import Isolation, Runner, prepare
from .executor.sandbox import Deadline, OnOutput, SandboxFactory, Stats
from .interface.checks import check
from .interface.discovery import discover
from .interface.interface import Convention, Interface, core_ranks
from .limits import Limits
from .plan import rewind
from .terms import PYTHON, Terms
from .wasm.binary import ModuleInfo, read_module

MAX_THREADS = 64
_NOT_RUN = InputError("the request was not run")
Outputs = TypeVar("Outputs", bound="list[np.ndarray] | None")
DEFAULT_CACHE: Any = object()  # "the process's own cache": None means no cache


class Program:
    """A loaded module and how to call it.

    Make one with `load`; use it from any thread; close it with `close` or ``with``.
    """

    def __init__(
        self,
        info: ModuleInfo,
        module: Any,
        interface: Interface,
        limits: Limits,
        isolation: Isolation,
        threads: int,
        on_output: OnOutput | None,
        globals_exposed: tuple[str, ...] | None = None,
        run_row: RunRow | None = None,
        terms: Terms = PYTHON,
    ) -> None:
        self.info = info
        self.interface = interface
        self.limits = limits
        self.isolation = isolation
        self.stats = Stats()
        self._workers = Workers(threads)
        self._runner: Runner
        self._sandboxes: SandboxFactory | None = None
        if run_row is not None:
            self._runner = Command(interface, run_row, self._workers, limits.max_tensor_bytes, terms)
        else:
            engine = engine_for(default_settings(limits.max_stack_bytes))
            self._runner, self._sandboxes = prepare(
                engine,
                module,
                info,
                interface,
                limits,
                isolation,
                self._workers,
                self.stats,
                on_output,
                globals_exposed,
                terms,
            )
        self._checker = Checker(interface)
        self._outputs = tuple(spec.name for spec in interface.outputs)
        self._exact = isinstance(self._runner, (Dlpack, Command))
        self._loops = not self._exact
        self._cores = None if self._exact else core_ranks(interface)
        self._coalesces = interface.max_batch_size > 0 and isolation is not Isolation.REQUEST

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
        terms: Terms = PYTHON,
    ) -> Program:
        """Read, check and compile a module (a path or its bytes).

        `interface` overrides what the module says of itself, whole (Interface) or in part (a mapping with the keys of
        the ``portalis`` section). `isolation` is ``request``, ``batch`` or ``instance``. `threads` splits a batch over
        that many threads. `cache` keeps compiled code (None: no cache). `trusted` compiles in this process. `on_output`
        gets each line that the guest writes: ``on_output("stdout", line)``. `terms` are the words of errors for what
        can be set.

        Raises ModuleError, InterfaceError or SettingsError.
        """
        limits = limits or Limits()
        if isolation not in [i.value for i in Isolation]:
            raise SettingsError(f"isolation must be one of {', '.join(i.value for i in Isolation)}, not {isolation!r}")
        if not 1 <= threads <= MAX_THREADS:
            raise SettingsError(f"threads must be from 1 to {MAX_THREADS}, not {threads}")
        name = name_of(source)
        wasm = read_source(source, limits, terms)
        info = read_module(wasm, name)
        if isinstance(interface, Interface):
            check(info, interface, where=name, terms=terms)  # raw calls rely on it, whoever made the interface
        else:
            interface = discover(info, interface, where=name, terms=terms)
        loadable.refuse(info, interface, limits, where=name, terms=terms)
        settings = default_settings(limits.max_stack_bytes)
        store = CompileCache() if cache is DEFAULT_CACHE else cache
        kept = isolation == Isolation.INSTANCE or interface.convention is Convention.COMMAND
        names = None if kept else rewind.mutable_globals(info)
        if names:
            wasm = rewind.expose(wasm, info, names)
        module = load(wasm, settings, limits, store, trusted=trusted, name=name, terms=terms)
        return cls(info, module, interface, limits, Isolation(isolation), threads, on_output, names, terms=terms)

    @classmethod
    def of_command(
        cls,
        source: str | os.PathLike[str],
        run_row: RunRow,
        *,
        interface: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        threads: int = 1,
        terms: Terms = PYTHON,
    ) -> Program:
        """A WASI program that another runtime runs, row by row, through `run_row`; nothing is compiled here.

        Raises ModuleError, InterfaceError, or SettingsError for a module of another convention.
        """
        limits, name = limits or Limits(), os.fspath(source)
        info = read_module(read_source(source, limits, terms), name)
        found = discover(info, interface, where=name, terms=terms)
        if found.convention is not Convention.COMMAND:
            raise SettingsError(f"{name} has the convention {found.convention.value}; only a command is run elsewhere")
        # another runtime may offer more, such as sockets, which no guest is given
        refused = [*loadable.of_imports(info), *loadable.of_limits(info.memories, info.size, limits)]
        loadable.raise_any(refused, where=name, terms=terms)
        return cls(info, None, found, limits, Isolation.BATCH, threads, None, run_row=run_row, terms=terms)

    def run(self, inputs: Mapping[str, Any], *, timeout_s: float | None = None) -> dict[str, np.ndarray]:
        """Run once. `inputs` maps names to arrays of the declared dtypes, the batch dimension included.

        BYTES tensors are object arrays of ``bytes``, BF16 tensors uint16 arrays of raw bits. Returns the outputs by
        name. Raises InputError, or GuestError when the guest fails.
        """
        arrays, rows = self._checker.check(inputs)
        limit_s = self.limits.timeout_s if timeout_s is None else self._timeout(timeout_s)
        outputs = self._call(arrays if self._loops else Group.of_one(arrays), rows, limit_s, False)
        return dict(zip(self._outputs, outputs))

    def run_batch(
        self,
        requests: Sequence[Mapping[str, Any]],
        *,
        timeouts_s: Sequence[float | None] | None = None,
        borrow: bool = False,
        proceed: Callable[[int], None] | None = None,
        answered: OnResult | None = None,
    ) -> list[Result]:
        """Run several requests, joined along axis 0 where they fit; an error is the result of its own request alone,
        any exception included (InternalError, with the traceback in the log).

        With `borrow` the outputs may be views of guest memory that are valid until the next call. `proceed` is called
        with a request's index before each guest call for that request alone, and raises Cancelled to leave it out. Once
        a call has failed, `answered` gets each result (its index, the result) as soon as it is known, while others may
        still run; all results are returned too. Both are called in this thread.
        """
        failed = None
        if borrow and requests:
            hot = self._run_hot(requests, timeouts_s or [None] * len(requests))
            if isinstance(hot, list):
                return hot
            failed = hot
        results: list[Result] = []
        results += [_NOT_RUN] * len(requests)
        batch = Batch(
            self._run_group,
            results,
            proceed=proceed,
            answered=answered,
            parallel=1 if self.isolation is Isolation.INSTANCE else MAX_THREADS,
        )
        jobs = []
        for index, request in enumerate(requests):
            try:
                arrays, rows = self._checker.check(request)
                timeout_s = self._timeout(timeouts_s[index] if timeouts_s else None)
                jobs.append(Job(index, arrays, rows, timeout_s))
            except WasmError as error:
                batch.settle(index, error)
            except Exception as error:  # noqa: BLE001  # one request's misfortune is not to be the whole batch's
                batch.settle(index, internal_error(error))
        if len(jobs) > 1 and self._coalesces and failed is None:
            most = self.interface.max_batch_size if self._exact else 1 << 62
            groups = coalesce.group(jobs, most, self._cores)
        else:
            groups = [coalesce.alone(job) for job in jobs]
        batch.run(groups, borrow and len(groups) == 1, failed=failed)
        return results

    def _run_hot(
        self, requests: Sequence[Mapping[str, Any]], timeouts_s: Sequence[float | None]
    ) -> list[Result] | WasmError | None:
        """The results of requests like those before; the error of several that failed together; None where the general
        path is needed."""
        runner, asked_s = self._runner, timeouts_s[0]
        if not isinstance(runner, (Dlpack, Gufunc)) or any(other != asked_s for other in timeouts_s):
            return None
        try:
            found = runner.hot.find(requests)
            if found is None:
                return None
            call, inputs = found
            timeout_s = self.limits.timeout_s if asked_s is None else self._timeout(asked_s)
            outputs = self._guarded(call.run, inputs, timeout_s)
        except WasmError as error:
            return [error] if len(requests) == 1 else error
        except Exception as problem:  # noqa: BLE001  # one request's misfortune is not to be the whole batch's
            internal = internal_error(problem)
            return [internal] if len(requests) == 1 else internal
        if outputs is None:
            return None
        if len(requests) == 1:
            return [dict(zip(self._outputs, outputs))]
        rows = [len(piece) for piece in inputs[0]]
        return [dict(zip(self._outputs, own)) for own in coalesce.cut(outputs, rows)]

    def close(self) -> None:
        """Free the kept instances and end the threads. Arrays that were returned stay valid."""
        if isinstance(self._runner, (Dlpack, Gufunc)):
            self._runner.hot.clear()
        if self._sandboxes is not None:
            self._sandboxes.close()
        self._workers.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _told(self, text: str) -> str:
        return f"entry '{messages.name(self.interface.entry)}': {text}"

    def _timeout(self, asked: float | None) -> float:
        limit = self.limits.timeout_s
        if asked is None:
            return limit
        if not asked > 0:
            raise InputError(f"the time limit must be a positive number of seconds, not {asked!r}")
        return min(asked, limit)

    def _run_group(self, group: Group, timeout_s: float, borrow: bool) -> list[dict[str, np.ndarray]]:
        """The outputs of each request of `group`, which run in one guest call."""
        pieces = group.joined() if self._loops else group.pieces()
        outputs = self._call(pieces, group.rows, timeout_s, borrow)
        return [dict(zip(self._outputs, own)) for own in coalesce.split(outputs, group.jobs)]

    def _call(self, inputs: Sequence[Any], rows: int | None, timeout_s: float, borrow: bool) -> list[np.ndarray]:
        """One guest call. `inputs` are arrays for a runner that loops, else lists of the requests' pieces."""
        runner = self._runner
        if isinstance(runner, Dlpack):
            return self._guarded(runner.run, inputs, rows, Deadline(timeout_s), borrow)
        if isinstance(runner, Gufunc):
            return self._guarded(runner.run, inputs, Deadline(timeout_s), borrow)
        if isinstance(runner, Command):
            by_name = dict(zip([spec.name for spec in self.interface.inputs], coalesce.joined(inputs)))
            stdin = by_name["stdin"]
            assert stdin is not None, "the interface says that it is not optional"
            return self._guarded(runner.run, stdin, by_name.get("args"), timeout_s)
        return self._guarded(runner.run, inputs, Deadline(timeout_s))

    def _guarded(self, call: Callable[..., Outputs], *arguments: Any) -> Outputs:
        """The result of a guest call, counted and timed. Its errors name the entry."""
        stats, began, counted = self.stats, time.perf_counter(), True
        try:
            outputs = call(*arguments)
            counted = outputs is not None  # else the short way led nowhere
        except GuestExit as leaving:
            raise GuestError(self._told(f"the guest ended itself with {leaving} instead of returning")) from None
        except GuestError as error:
            stats.timeouts += isinstance(error, GuestTimeout)
            stats.traps += isinstance(error, Trap)
            error.args = (self._told(str(error)),)
            raise
        finally:
            stats.calls += counted
            stats.guest_seconds += time.perf_counter() - began
        return outputs
