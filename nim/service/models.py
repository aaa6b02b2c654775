"""The models of the service: all are loaded in the background, and found by name."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue

from .ensemble_nesting import nested_order
from .ensembles import EnsembleModel
from .memory_budget import MemoryBudget
from .model_versions import version_number
from .module_model import ModuleModel, SchedulerOptions
from .request_errors import input_error, not_found
from .sequence_model import SequenceModel
from .served_model import ServedModel
from .settings import ModelSettings, ServiceSettings


def available_cpus() -> int:
    """The number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _model(settings: ModelSettings, folder: Path, options: SchedulerOptions) -> ModuleModel:
    kind = ModuleModel if settings.sequence_batching is None else SequenceModel
    return kind(settings, folder, options)


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
        self, settings: ServiceSettings, folder: Path, options: SchedulerOptions, budget: MemoryBudget
    ) -> None:
        models: dict[str, ServedModel] = {each.name: _model(each, folder, options) for each in settings.models}
        # ensembles follow the models of their steps, for which they wait in `start`
        for each in nested_order(settings.ensembles):
            models[each.name] = EnsembleModel(each, models, folder, budget, settings.max_response_bytes)
        self._models = models

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
            raise not_found(f"Request for unknown model: '{name[:128]}' is not found; {self._names()}")
        return self._models[name]

    def find_version(self, name: str, version: str | None = None) -> ServedModel:
        """The model `name`, in `version` unless that is None. Raises RequestError with status 404, or 400 if `version`
        is not a positive number."""
        number = None if version is None else version_number(version)
        model = self.find(name)
        if number not in (None, model.version):
            text = f"Request for unknown model: '{name}' version {number} is not found"
            raise not_found(f"{text}; the version is {model.version}")
        return model

    def find_counted(self, name: str, version: str | None = None) -> ServedModel:
        """The same for requests of statistics, where Triton answers with status 400 and other texts."""
        number = None if version is None else version_number(version)
        if name not in self._models:
            raise input_error(f"requested model '{name[:128]}' is not available; {self._names()}")
        model = self._models[name]
        if number not in (None, model.version):
            text = f"requested model version is not available for model '{name}'"
            raise input_error(f"{text}; the version is {model.version}")
        return model

    def _names(self) -> str:
        return f"the models are {', '.join(self)}"

    def not_ready_reason(self) -> str:
        """The reasons why models are not ready; "" if all are."""
        return "; ".join(filter(None, (model.not_ready_reason() for model in self.values())))

    def close(self) -> None:
        """Close all models."""
        for model in self.values():
            model.close()
