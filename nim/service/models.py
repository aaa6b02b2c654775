"""The models of the service: how they are loaded, tried with a first request, and found by name."""

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
from typing import Any, Literal

import numpy as np

from .codec import parse_inputs
from .request_errors import RequestError, internal_error, not_found, unavailable
from .runtime_api import SERVICE_NAMES, GuestStatus, Interface, Limits, Program, SettingsError, WasmError
from .scheduling import Scheduler, SchedulerMetrics
from .settings import ModelSettings

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SchedulerOptions:
    """The options of each model's scheduler."""

    max_queued: int = 256
    """Maximum number of requests that wait."""
    workers: int = 4
    """Maximum number of worker threads."""
    metrics: SchedulerMetrics | None = None


class ServedModel:
    """A module with its settings. It is loaded once, and then called through its scheduler."""

    def __init__(self, settings: ModelSettings, folder: Path, options: SchedulerOptions) -> None:
        self.settings = settings
        self._options = options
        self.path = folder / settings.file
        self.sha256 = ""
        self.size = 0
        """Size of the module's file in bytes, 0 before it is loaded."""
        self.loaded_at = 0
        """Seconds since 1970, 0 before the module is loaded."""
        self.failure = ""
        """The reason why loading or the first request failed; "" if they did not."""
        self.ready = False
        """Whether the model has answered its first request."""
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
        """The scheduler that runs requests. Raises RequestError with status 503 before the first request has run."""
        if self._scheduler is None:
            raise unavailable(self.not_ready_reason())
        return self._scheduler

    @property
    def repository_state(self) -> Literal["READY", "LOADING", "UNAVAILABLE"]:
        """The model's state in the index of the Open Inference Protocol's repository."""
        return "READY" if self.ready else "UNAVAILABLE" if self.failure else "LOADING"

    def not_ready_reason(self) -> str:
        """The reason why the model is not ready; "" if it is."""
        if self.failure:
            return f"model '{self.name}' failed: {self.failure}"
        return "" if self.ready else f"model '{self.name}' is still loading"

    def statistics_document(self) -> dict[str, Any]:
        """The model's entry of ``model_stats``. Raises RequestError with status 503 before the first request has
        run."""
        return self.scheduler.statistics.to_json(self.name, self.settings.version)

    def start(self) -> None:
        """Load the module and run its first request; a failure is noted in `failure`, and logged."""
        began = time.monotonic()
        try:
            self._load()
            try:
                self._warm_up(self.program)
            finally:
                self._scheduler = self._create_scheduler(self.program)
        except (WasmError, RequestError) as error:
            self.failure = str(error)
        except OSError as error:
            self.failure = f"cannot read {self.path}: {error.strerror}"
        except Exception as error:  # noqa: BLE001  # otherwise the model would stay in the state of loading
            self.failure = internal_error(error, f"model '{self.name}'").message
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
        options: dict[str, Any] = {
            "interface": settings.interface,
            "limits": limits,
            "threads": settings.threads,
            "setting_names": SERVICE_NAMES,
        }
        if settings.wasm_runtime == "Wasmtime":
            self._program = Program.load(self.path, isolation=settings.isolation, on_output=self._log, **options)
        else:
            from .external import load_program

            self._program = load_program(self.path, settings.wasm_runtime, settings.wasm_runtime_command, **options)
        self.loaded_at = int(time.time())
        _LOG.debug("model '%s' is loaded", self.name)

    def _create_scheduler(self, program: Program) -> Scheduler:
        options = self._options
        return Scheduler(
            program,
            name=self.name,
            max_queued=options.max_queued,
            workers=options.workers,
            metrics=options.metrics,
        )

    def _warm_up(self, program: Program) -> None:
        declared, interface = self.settings.warm_up, program.interface
        inputs = parse_inputs(interface, {"inputs": list(declared)}) if declared else smallest_inputs(interface)
        try:
            program.run(inputs)
        except GuestStatus as status:
            if declared:
                raise
            # zeros are not valid inputs of every model: its own error is an answer
            _LOG.info("model '%s' answered its first request with: %s", self.name, status)

    def _log(self, stream: str, line: str) -> None:
        _LOG.info("model '%s' %s: %s", self.name, stream, line)

    def close(self) -> None:
        """Finish the accepted requests, and free the instances."""
        if self._scheduler is not None:
            self._scheduler.close()
        if self._program is not None:
            self._program.close()


def smallest_inputs(interface: Interface) -> dict[str, np.ndarray]:
    """Zeros (BYTES: empty elements) for each input that is not optional: one row, and size 1 for each variable
    dimension."""
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
    """The number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start_each(queue: SimpleQueue[ServedModel]) -> None:
    while True:
        try:
            model = queue.get_nowait()
        except Empty:
            return
        model.start()


class ServedModels(Mapping[str, ServedModel]):
    """All models by name. As many are loaded in parallel as there are CPUs, and at least two: each has a time limit,
    and more at a time would slow each other down."""

    def __init__(
        self, settings: tuple[ModelSettings, ...], folder: Path, options: SchedulerOptions | None = None
    ) -> None:
        options = options or SchedulerOptions()
        self._models = {each.name: ServedModel(each, folder, options) for each in settings}

    def __getitem__(self, name: str) -> ServedModel:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def start(self) -> None:
        """Start to load the models. The threads are daemons, so that a service that stops does not wait for a
        compiler."""
        queue: SimpleQueue[ServedModel] = SimpleQueue()
        for model in self.values():
            queue.put(model)
        # at least two threads, so that one slow model does not delay the others
        for number in range(min(len(self), max(2, available_cpus()))):
            threading.Thread(target=_start_each, args=[queue], name=f"loader {number}", daemon=True).start()

    def find(self, name: str) -> ServedModel:
        """The model `name`. Raises RequestError with status 404 that lists the models."""
        if name not in self._models:
            raise not_found(f"unknown model {name[:128]!r}; the models are {', '.join(self)}")
        return self._models[name]

    def find_version(self, name: str, version: str | None = None) -> ServedModel:
        """The model `name`, in `version` unless that is None. Raises RequestError with status 404."""
        model = self.find(name)
        if version not in (None, model.settings.version):
            raise not_found(f"model '{name}' has version {model.settings.version}, not {str(version)[:128]!r}")
        return model

    def find_v2(self, name: str, version: str | None = None) -> ServedModel:
        """The same as `find_version`, but raises RequestError with status 400, as Triton answers over HTTP."""
        try:
            return self.find_version(name, version)
        except RequestError as error:
            raise RequestError(400, error.kind, error.message) from None

    def not_ready_reason(self) -> str:
        """The reasons why models are not ready; "" if all are."""
        return "; ".join(filter(None, (model.not_ready_reason() for model in self.values())))

    def close(self) -> None:
        """Close all models."""
        for model in self.values():
            model.close()
