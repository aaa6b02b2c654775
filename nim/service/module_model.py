"""A model that is one WebAssembly module."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .codec import ParsedRequest, parse_inputs
from .codec.scalars import ScalarTensors
from .image_formats import add_formats, check_formats
from .label_files import load_labels
from .loop_calls import OnWait
from .request_errors import ModelClosed
from .runtime_api import SERVICE_NAMES, GuestStatus, Interface, Limits, Program, SettingsError
from .scheduling import Outputs, Scheduler, SchedulerMetrics
from .served_model import ServedModel
from .settings import ModelSettings

BACKEND = "wasm"
"""The backend for WebAssembly in Triton."""
DEFAULT_FILE = "model.wasm"
"""The name of a module's file that Triton needs no configuration for."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SchedulerOptions:
    """The options of each model's scheduler."""

    max_queued: int = 256
    """Maximum number of requests that wait."""
    workers: int = 4
    """Maximum number of worker threads."""
    metrics: SchedulerMetrics | None = None


class ModuleModel(ServedModel):
    """A module with its settings. It is loaded once, and then called through its scheduler."""

    platform = "wasm"
    settings: ModelSettings

    def __init__(self, settings: ModelSettings, folder: Path, options: SchedulerOptions) -> None:
        super().__init__(settings.name, settings.version, settings.labels)
        self.settings = settings
        self.sha256 = ""
        """Digest of the module's file, "" before it is loaded."""
        self.size = 0
        """Size of the module's file in bytes, 0 before it is loaded."""
        self._options = options
        self.path = folder / settings.file
        self._program: Program | None = None
        self._scheduler: Scheduler | None = None
        self._scalars: ScalarTensors
        self._folder = folder

    @property
    def interface(self) -> Interface:
        """The module's interface."""
        return self.program.interface

    @property
    def files(self) -> list[Path]:
        """The module and the label files."""
        return [self.path, *(self._folder / name for name in self.label_files.values())]

    @property
    def program(self) -> Program:
        """The loaded module. Raises RequestError with status 503 before it is loaded."""
        if self._program is None:
            raise self._unavailable()
        return self._program

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler that runs requests. Raises RequestError with status 503 before the first request has run."""
        if self._scheduler is None:
            raise self._unavailable()
        return self._scheduler

    @property
    def copies_inputs_once(self) -> bool:
        """Whether the runtime does so for the module."""
        return self.program.copies_inputs_once

    async def run(self, request: ParsedRequest) -> Outputs:
        """The module's outputs."""
        scheduler, scalars = self.scheduler, self._scalars
        try:
            outputs = await scheduler.run(
                scalars.module_inputs(request.inputs),
                timeout_s=request.timeout_s,
                guest_timeout_s=request.guest_timeout_s,
                on_success=request.on_compute,
                take_outputs=request.take_outputs,
            )
        except ModelClosed as error:
            return await self._successor(error).run(request)
        return scalars.served_outputs(outputs)

    def try_run(self, request: ParsedRequest) -> Outputs | None:
        """The module's outputs, if it is idle and its calls are short."""
        if self._scheduler is None:
            return None
        outputs = self._scheduler.try_run(
            self._scalars.module_inputs(request.inputs),
            timeout_s=request.timeout_s,
            guest_timeout_s=request.guest_timeout_s,
            take_outputs=request.take_outputs,
        )
        return None if outputs is None else self._scalars.served_outputs(outputs)

    def run_blocking(self, request: ParsedRequest, loop: asyncio.AbstractEventLoop, on_wait: OnWait) -> Outputs:
        """The module's outputs; the module can run in the calling thread."""
        scheduler, scalars = self.scheduler, self._scalars
        try:
            outputs = scheduler.run_blocking(
                scalars.module_inputs(request.inputs),
                timeout_s=request.timeout_s,
                guest_timeout_s=request.guest_timeout_s,
                on_success=request.on_compute,
                take_outputs=request.take_outputs,
                on_wait=on_wait,
            )
        except ModelClosed as error:
            return self._successor(error).run_blocking(request, loop, on_wait)
        return scalars.served_outputs(outputs)

    def statistics_document(self) -> dict[str, Any]:
        """The statistics of the module's scheduler."""
        return self.scheduler.statistics.to_json(self.name, self.version)

    def complete_config(self, config: Any) -> None:
        """Complete `config` with the backend, dynamic batching, the settings of the runtime, and the module's file."""
        settings, optimization = self.settings, config.optimization
        config.backend = BACKEND
        add_formats(settings.formats, config)
        # the defaults of Triton
        optimization.input_pinned_memory.enable = optimization.output_pinned_memory.enable = True
        config.instance_group.add(name=self.name, kind="KIND_CPU", count=1)
        self._add_scheduling(config)
        if settings.file != DEFAULT_FILE:
            config.default_model_filename = settings.file
        for name, value in _parameters(settings).items():
            config.parameters[f"wasm.{name}"].string_value = value

    def _add_scheduling(self, config: Any) -> None:
        if config.max_batch_size and self.program.isolation.value != "request":
            batching = config.dynamic_batching
            batching.preferred_batch_size.append(config.max_batch_size)
            policy = batching.default_queue_policy
            policy.allow_timeout_override, policy.max_queue_size = True, self._options.max_queued

    def _start(self) -> None:
        self._load()
        try:
            self._warm_up(self.program)
        finally:
            self._start_scheduling()

    def _load(self) -> None:
        content = self.path.read_bytes()
        self.sha256, self.size = hashlib.sha256(content).hexdigest(), len(content)
        self._program = self._load_program(content)
        check_formats(self.settings.formats, self._program.interface)
        self.labels = load_labels(self._folder, self.settings.labels, self._program.interface)
        self._scalars = ScalarTensors(self._program.interface)
        self.loaded_at = int(time.time())
        self._keep_module(content)
        _LOG.debug("model '%s' is loaded", self.name)

    def _load_program(self, content: bytes) -> Program:
        settings = self.settings
        try:
            limits = Limits(**settings.limits)  # type: ignore[arg-type]
        except TypeError:
            known = ", ".join(Limits.__dataclass_fields__)
            raise SettingsError(f"limits has an unknown key; the limits are {known}") from None
        options: dict[str, Any] = {
            "interface": settings.interface,
            "limits": limits,
            "threads": settings.threads,
            "setting_names": SERVICE_NAMES,
        }
        if settings.wasm_runtime == "Wasmtime":
            name = str(self.path)
            return Program.load(content, name=name, isolation=settings.isolation, on_output=self._log, **options)
        from .external import load_program

        return load_program(self.path, settings.wasm_runtime, settings.wasm_runtime_command, **options)

    def _keep_module(self, content: bytes) -> None:
        """Keep `content` if the module is instantiated later, too: its file can be replaced."""

    def _start_scheduling(self) -> None:
        options = self._options
        self._scheduler = Scheduler(
            self.program,
            name=self.name,
            max_queued=options.max_queued,
            workers=options.workers,
            metrics=options.metrics,
        )

    def _warm_up(self, program: Program) -> None:
        declared, interface = self.settings.warm_up, self.interface
        inputs = parse_inputs(interface, {"inputs": list(declared)}) if declared else smallest_inputs(interface)
        try:
            program.run(self._warm_up_inputs(inputs))
        except GuestStatus as status:
            if declared:
                raise
            # zeros are not valid inputs of every model: its own error is an answer
            _LOG.info("model '%s' answered its first request with: %s", self.name, status)

    def _warm_up_inputs(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays that the module receives for `inputs` of the first request."""
        return self._scalars.module_inputs(inputs)

    def _log(self, stream: str, line: str) -> None:
        _LOG.info("model '%s' %s: %s", self.name, stream, line)

    def close(self) -> None:
        """Finish the accepted requests, and free the instances."""
        if self._scheduler is not None:
            self._scheduler.close()
        if self._program is not None:
            self._program.close()


def _parameters(settings: ModelSettings) -> dict[str, str]:
    """The settings that are not defaults, by the names of the backend's parameters in Triton, without their prefix."""
    defaults = ModelSettings.model_fields
    parameters = {
        name: str(getattr(settings, name))
        for name in ("isolation", "threads")
        if getattr(settings, name) != defaults[name].default
    }
    for name, value in settings.limits.items():
        in_seconds = name.endswith("_s")
        parameters[f"{name[:-2]}_ms" if in_seconds else name] = f"{value * 1000:g}" if in_seconds else str(value)
    return parameters


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
