"""A model that is an ensemble: its steps call other models of the service, and pass arrays on as they are."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..codec import ParsedRequest
from ..ensemble_settings import EnsembleSettings
from ..label_files import load_labels
from ..memory_budget import MemoryBudget
from ..request_errors import RequestError, from_runtime_error, unavailable
from ..runtime_api import Convention, InputError, Interface, RequestChecker, TensorSpec, check_rows, parse_dtype
from ..scheduling import ModelStatistics, Outputs
from ..served_model import ServedModel
from .ensemble_binding import bind_ensemble
from .ensemble_config import complete_ensemble_config
from .ensemble_plan import EnsemblePlan
from .ensemble_run import EnsembleRun
from .ensemble_shapes import fit_batch, reshape_tensor


class EnsembleModel(ServedModel):
    """An ensemble of those of `models` that exist when it is started, with its label files in `folder`. It is ready
    when they are.

    The tensors between steps are counted in `budget`; a step's outputs have at most `max_response_bytes`.
    """

    platform = "ensemble"
    settings: EnsembleSettings

    def __init__(
        self,
        settings: EnsembleSettings,
        models: Mapping[str, ServedModel],
        folder: Path,
        budget: MemoryBudget,
        max_response_bytes: int,
    ) -> None:
        super().__init__(settings.name, settings.version, settings.labels)
        self.settings = settings
        self._folder = folder
        self._available = models
        self._models: dict[str, ServedModel] = {}
        self._budget = budget
        self._max_response_bytes = max_response_bytes
        self._interface = _interface(settings)
        self._checker = RequestChecker(self._interface)
        self._plan: EnsemblePlan | None = None
        self._statistics = ModelStatistics()
        self._finished = threading.Condition()  # guards the number of running requests
        self._running = 0

    @property
    def interface(self) -> Interface:
        """The inputs and outputs of the ensemble, which its settings declare."""
        return self._interface

    @property
    def files(self) -> list[Path]:
        """The label files."""
        return [self._folder / name for name in self.label_files.values()]

    async def run(self, request: ParsedRequest) -> Outputs:
        """The requested outputs of the steps. Cancellation and the time limits of `request` apply to each step."""
        plan = self._plan
        if plan is None:
            raise self._unavailable()
        inputs = self._inner_inputs(request.inputs)
        began, failed, seconds = time.perf_counter(), True, list[float]()
        try:
            with self._count_running(), self._budget.share() as share:
                timed = replace(request, on_compute=seconds.append)
                outputs = await EnsembleRun(plan, timed, inputs, share, self._max_response_bytes).outputs()
            failed = False
            return self._outer_outputs(plan, outputs)
        except RequestError as error:
            raise RequestError(error.status, error.kind, f"in ensemble '{self.name}', {error.message}") from None
        finally:
            rows = _rows(request) if self._interface.max_batch_size else 1
            self._statistics.count_request(rows, time.perf_counter() - began, sum(seconds), failed=failed)
            if request.on_compute is not None:  # of the ensemble around this one
                request.on_compute(sum(seconds))

    def statistics_document(self) -> dict[str, Any]:
        """The statistics of the ensemble: its computation is that of all modules that it calls."""
        if self._plan is None:
            raise self._unavailable()
        return self._statistics.to_json(self.name, self.version)

    def complete_config(self, config: Any) -> None:
        """Complete `config` with the platform, the reshapes and the steps."""
        complete_ensemble_config(config, self.settings)

    def finish(self) -> None:
        """Wait until all requests are answered."""
        with self._finished:
            self._finished.wait_for(lambda: not self._running)

    def close(self) -> None:
        """Do nothing: the models of the steps are closed on their own."""

    @contextlib.contextmanager
    def _count_running(self) -> Iterator[None]:
        with self._finished:
            self._running += 1
        try:
            yield
        finally:
            with self._finished:
                self._running -= 1
                if not self._running:
                    self._finished.notify_all()

    def _start(self) -> None:
        for step in self.settings.steps:
            model = self._available.get(step.model_name)
            if model is None:
                raise unavailable(f"model '{step.model_name}' is not loaded")
            model.settled.wait()
            if not model.ready:
                raise unavailable(model.not_ready_reason())
            self._models[step.model_name] = model
        self._plan = bind_ensemble(self.settings, self._models)
        own_labels = load_labels(self._folder, self.settings.labels, self._interface)
        self.labels = {**self._labels_of_steps(), **own_labels}
        self.loaded_at = int(time.time())

    def _labels_of_steps(self) -> dict[str, Sequence[bytes]]:
        """The labels of the models whose outputs are those of the ensemble, as in Triton."""
        outputs = {tensor.name for tensor in self.settings.outputs}
        return {
            tensor: self._models[step.model_name].labels[name]
            for step in self.settings.steps
            for name, tensor in step.output_map.items()
            if tensor in outputs and name in self._models[step.model_name].labels
        }

    def _inner_inputs(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of a request in the shapes of the steps. Raises RequestError if they do not match the
        interface."""
        try:
            arrays = self._checker.check(inputs)
            check_rows(self._interface, arrays)
        except InputError as error:
            raise from_runtime_error(error) from None
        batched = self._interface.max_batch_size > 0
        inner = {}
        for tensor, array in zip(self.settings.inputs, arrays):
            if array is not None:
                shape = tensor.dims if tensor.reshape is None else tensor.reshape
                inner[tensor.name] = reshape_tensor(array, tensor.dims, shape, batched=batched)
        return inner

    def _outer_outputs(self, plan: EnsemblePlan, outputs: Outputs) -> Outputs:
        """The arrays of the steps in the shapes of the interface."""
        batched = self._interface.max_batch_size > 0
        outer = {}
        for tensor in self.settings.outputs:
            array = outputs.get(tensor.name)
            if array is None:
                continue
            shape = tensor.dims if tensor.reshape is None else tensor.reshape
            array = fit_batch(array, shape, batched=tensor.name in plan.batched, expects_batch=batched)
            outer[tensor.name] = reshape_tensor(array, shape, tensor.dims, batched=batched)
        return outer


def _interface(settings: EnsembleSettings) -> Interface:
    """The interface of an ensemble. Its shapes are checked as those of the convention ``dlpack``: exactly."""
    return Interface(
        entry="",
        convention=Convention.DLPACK,
        inputs=tuple(
            TensorSpec(each.name, parse_dtype(each.data_type), each.dims, each.optional) for each in settings.inputs
        ),
        outputs=tuple(TensorSpec(each.name, parse_dtype(each.data_type), each.dims) for each in settings.outputs),
        max_batch_size=settings.max_batch_size,
    )


def _rows(request: ParsedRequest) -> int:
    """The number of rows of a request to an ensemble with a batch dimension."""
    first = next(iter(request.inputs.values()), None)
    return first.shape[0] if first is not None and first.ndim else 1
