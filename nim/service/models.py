"""The models of the service: loading, the first request of each, and whether they are ready."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from .codec import parse_inputs
from .request_errors import RequestError, not_found, unavailable
from .runtime_api import SERVICE_NAMES, GuestStatus, Interface, Limits, Program, SettingsError, WasmError
from .scheduling.pending import SchedulerMetrics
from .scheduling.scheduler import Scheduler
from .settings import ModelSettings

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SchedulerOptions:
    """How the requests of each model wait: how many at most, for how many workers at most, and who counts them."""

    max_queued: int = 256
    workers: int = 4
    metrics: SchedulerMetrics | None = None


class ServedModel:
    """A module with its settings. It is loaded once and then called through its scheduler."""

    def __init__(self, settings: ModelSettings, folder: Path, queueing: SchedulerOptions) -> None:
        self.settings = settings
        self._queueing = queueing
        self.path = folder / settings.file
        self.sha256 = ""
        self.size = 0
        self.loaded_at = 0
        self.failure = ""
        self.ready = False
        self._program: Program | None = None
        self._scheduler: Scheduler | None = None

    @property
    def name(self) -> str:
        """The name that requests use."""
        return self.settings.name

    @property
    def program(self) -> Program:
        """The loaded module. Raises RequestError with status 503 before it is loaded."""
        if self._program is None:
            raise unavailable(self.not_ready_reason())
        return self._program

    @property
    def scheduler(self) -> Scheduler:
        """What runs requests. Raises RequestError with status 503 before the first request has been tried."""
        if self._scheduler is None:
            raise unavailable(self.not_ready_reason())
        return self._scheduler

    def not_ready_reason(self) -> str:
        """Why the model is not ready, "" when it is."""
        if self.failure:
            return f"model '{self.name}' failed: {self.failure}"
        return "" if self.ready else f"model '{self.name}' is still loading"

    def start(self) -> None:
        """Load the module and send it a first request. What fails is kept as `failure`, and logged."""
        began = time.monotonic()
        try:
            self._load()
            try:
                self._warm_up(self.program)
            finally:
                self._scheduler = self._made_scheduler(self.program)
        except (WasmError, RequestError) as problem:
            self.failure = str(problem)
        except OSError as problem:
            self.failure = f"cannot read {self.path}: {problem.strerror}"
        except Exception:  # noqa: BLE001  # else the service would say for ever that it is loading
            self.failure = "the service itself failed; its log says how"
            _LOG.exception("model '%s' could not be started", self.name)
        if self.failure:
            _LOG.error("%s", self.not_ready_reason())
            return
        self.ready = True
        _LOG.info("model '%s' is ready after %.2f s", self.name, time.monotonic() - began)

    def _load(self) -> None:
        settings = self.settings
        try:
            limits = Limits(**settings.limits)  # type: ignore[arg-type]
        except TypeError:
            known = ", ".join(Limits.__dataclass_fields__)
            raise SettingsError(f"limits has an unknown key; the limits are {known}") from None
        content = self.path.read_bytes()
        self.sha256, self.size = hashlib.sha256(content).hexdigest(), len(content)
        how: dict[str, Any] = {
            "interface": settings.interface,
            "limits": limits,
            "threads": settings.threads,
            "setting_names": SERVICE_NAMES,
        }
        if settings.wasm_runtime == "Wasmtime":
            self._program = Program.load(self.path, isolation=settings.isolation, on_output=self._log, **how)
        else:
            from .external import load_program

            self._program = load_program(self.path, settings.wasm_runtime, settings.wasm_runtime_command, **how)
        self.loaded_at = int(time.time())
        _LOG.debug("model '%s' is loaded", self.name)

    def _made_scheduler(self, program: Program) -> Scheduler:
        how = self._queueing
        return Scheduler(program, name=self.name, max_queued=how.max_queued, workers=how.workers, metrics=how.metrics)

    def _warm_up(self, program: Program) -> None:
        given = self.settings.warm_up
        inputs = (
            parse_inputs(program.interface, {"inputs": list(given)}) if given else smallest_inputs(program.interface)
        )
        try:
            program.run(inputs)
        except GuestStatus as refusal:
            if given:
                raise
            # zeros need not make sense to every model; that it says so is an answer
            _LOG.info("model '%s' answered its first request with: %s", self.name, refusal)

    def _log(self, stream: str, line: str) -> None:
        _LOG.info("model '%s' %s: %s", self.name, stream, line)

    def close(self) -> None:
        """Answer what was accepted, and free the instances."""
        if self._scheduler is not None:
            self._scheduler.close()
        if self._program is not None:
            self._program.close()


def smallest_inputs(interface: Interface) -> dict[str, np.ndarray]:
    """Zeros (empty bytes) for every input that is not optional: one row, and 1 wherever any size goes."""
    inputs = {}
    for spec in interface.inputs:
        if spec.optional:
            continue
        batch = (1,) if interface.max_batch_size else ()
        shape = batch + tuple(1 if size == -1 else size for size in spec.dims)
        zero: Any = b"" if spec.dtype.name == "BYTES" else 0
        inputs[spec.name] = np.full(shape, zero, dtype=spec.dtype.numpy)
    return inputs


def available_cpus() -> int:
    """How many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load_each(waiting: SimpleQueue[ServedModel]) -> None:
    while True:
        try:
            model = waiting.get_nowait()
        except Empty:
            return
        model.start()


class ServedModels(Mapping[str, ServedModel]):
    """All models by name, loaded at the same time, as many as there are CPUs: more would take from each other's time,
    which is limited."""

    def __init__(
        self, settings: tuple[ModelSettings, ...], folder: Path, queueing: SchedulerOptions | None = None
    ) -> None:
        how = queueing or SchedulerOptions()
        self._models = {each.name: ServedModel(each, folder, how) for each in settings}

    def __getitem__(self, name: str) -> ServedModel:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def start(self) -> None:
        """Begin to load. The threads are daemons: a service that is told to stop does not wait for a compiler."""
        waiting: SimpleQueue[ServedModel] = SimpleQueue()
        for model in self.values():
            waiting.put(model)
        # at least two, so that one slow model holds up none of the others
        for number in range(min(len(self), max(2, available_cpus()))):
            threading.Thread(target=_load_each, args=[waiting], name=f"loader {number}", daemon=True).start()

    def find(self, name: str) -> ServedModel:
        """The model called `name`. Raises RequestError with status 404 that names those there are."""
        if name not in self._models:
            raise not_found(f"there is no model {name[:128]!r}; there are {', '.join(self)}")
        return self._models[name]

    def find_version(self, name: str, version: str | None = None) -> ServedModel:
        """The model called `name`, in this version where one is given. Raises RequestError with status 404."""
        model = self.find(name)
        if version not in (None, model.settings.version):
            text = f"model '{name}' has version {model.settings.version}, not {str(version)[:128]!r}"
            raise not_found(text)
        return model

    def find_v2(self, name: str, version: str | None = None) -> ServedModel:
        """The same. Raises RequestError with status 400, as Triton does over HTTP."""
        try:
            return self.find_version(name, version)
        except RequestError as problem:
            raise RequestError(400, problem.kind, problem.message) from None

    def not_ready_reason(self) -> str:
        """Why the service is not ready, "" when it is."""
        return "; ".join(filter(None, (model.not_ready_reason() for model in self.values())))

    def close(self) -> None:
        """Free all instances."""
        for model in self.values():
            model.close()
