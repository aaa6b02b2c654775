"""The models of the service: they are loaded in the background, and found by name."""

from __future__ import annotations

import os
import threading
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal, NamedTuple

from .memory_budget import MemoryBudget
from .model_factory import ModelFactory
from .model_versions import version_number
from .module_model import SchedulerOptions
from .request_errors import RequestError, input_error, not_found, unavailable
from .served_model import ServedModel
from .settings import ServiceSettings


def available_cpus() -> int:
    """The number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def loading_threads() -> int:
    """Maximum number of models that are loaded at a time."""
    # at least two, so that one slow model does not delay the others
    return max(2, available_cpus())


def _start_each(queue: SimpleQueue[ServedModel]) -> None:
    while True:
        try:
            model = queue.get_nowait()
        except Empty:
            return
        model.start()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model in the index of the Open Inference Protocol's repository. A model that was never loaded has a name
    only."""

    name: str
    version: str = ""
    state: Literal["", "READY", "LOADING", "UNLOADING", "UNAVAILABLE"] = ""
    reason: str = ""


class _Unloaded(NamedTuple):
    """The version of a model that was unloaded, and whether it is closed."""

    version: str
    closed: threading.Event


class ServedModels(Mapping[str, ServedModel]):
    """The models that are loaded, are being loaded, or cannot be loaded, by name: at first `initial_models` of the
    settings. Any thread can read them. As many are loaded in parallel as there are CPUs, and at least two: each has a
    time limit, and more at a time would slow each other down."""

    def __init__(
        self, settings: ServiceSettings, folder: Path, options: SchedulerOptions, budget: MemoryBudget
    ) -> None:
        self.factory = ModelFactory(settings, folder, options, budget)
        self._lock = threading.Lock()  # of changes; both dicts are replaced, so that they can be read at any time
        self._models: dict[str, ServedModel] = {}
        self._unloaded: dict[str, _Unloaded] = {}
        self.own = frozenset(settings.initial_models())
        """The models that are served at first, without those that only ensembles call."""
        # ensembles follow the models of their steps, for which they wait in `start`
        for name in self.factory.with_steps(self.own):
            self._models[name] = self.factory.create(name, self)

    def __getitem__(self, name: str) -> ServedModel:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def values(self) -> ValuesView[ServedModel]:
        """The models; later changes do not affect them."""
        return self._models.values()

    def items(self) -> ItemsView[str, ServedModel]:
        """The names and models; later changes do not affect them."""
        return self._models.items()

    def publish(self, model: ServedModel) -> ServedModel | None:
        """Serve `model`, instead of the model with this name, if there is one: it is returned, and must be closed."""
        with self._lock:
            replaced = self._models.get(model.name)
            if replaced is not None:
                replaced.successor = model
            self._models = {**self._models, model.name: model}
            self._unloaded = {name: each for name, each in self._unloaded.items() if name != model.name}
        return replaced

    def remove(self, name: str) -> ServedModel | None:
        """Serve the model `name` no more. It is returned, and must be closed; None if it was not served."""
        with self._lock:
            removed = self._models.get(name)
            if removed is not None:
                removed.unloaded = True
                self._models = {each: model for each, model in self._models.items() if each != name}
                self._unloaded = {**self._unloaded, name: _Unloaded(removed.version, removed.closed)}
        return removed

    def index(self) -> list[ModelEntry]:
        """All models of the settings, in the order of their names."""
        models, unloaded = self._models, self._unloaded
        return [self._entry(name, models.get(name), unloaded.get(name)) for name in sorted(self.factory)]

    def _entry(self, name: str, model: ServedModel | None, unloaded: _Unloaded | None) -> ModelEntry:
        if model is not None:
            return ModelEntry(name=name, version=model.version, state=model.repository_state, reason=model.failure)
        if unloaded is None:
            return ModelEntry(name=name)
        if unloaded.closed.is_set():
            return ModelEntry(name=name, version=unloaded.version, state="UNAVAILABLE", reason="unloaded")
        return ModelEntry(name=name, version=unloaded.version, state="UNLOADING")

    def start(self) -> None:
        """Start to load the models. The threads are daemons, so that a service that stops does not wait for a
        compiler."""
        queue: SimpleQueue[ServedModel] = SimpleQueue()
        for model in self.values():
            queue.put(model)
        for number in range(min(len(self), loading_threads())):
            threading.Thread(target=_start_each, args=[queue], name=f"loader {number}", daemon=True).start()

    def find_version(self, name: str, version: str | None = None) -> ServedModel:
        """The model `name`, in `version` unless that is None. Raises RequestError with status 404, 400 if `version` is
        not a positive number, or 503 if this version was unloaded."""
        number = None if version is None else version_number(version)
        model = self._models.get(name)
        if model is None or number not in (None, model.version):
            raise self._unknown(name, number, model or self._unloaded.get(name))
        return model

    def _unknown(self, name: str, number: str | None, known: ServedModel | _Unloaded | None) -> RequestError:
        text = f"Request for unknown model: '{name[:128]}'"
        if known is None:
            return not_found(f"{text} is not found; {self._names()}")
        if number not in (None, known.version):
            return not_found(f"{text} version {number} is not found; the version is {known.version}")
        if number is None:
            return not_found(f"{text} has no available versions; it was unloaded")
        return unavailable(f"{text} version {number} is not at ready state; it was unloaded")

    def find_counted(self, name: str, version: str | None = None) -> ServedModel:
        """The same for requests of statistics, where Triton answers with status 400 and other texts."""
        number = None if version is None else version_number(version)
        model = self._models.get(name)
        if model is None or not model.ready:
            reason = self._names() if model is None else model.not_ready_reason()
            raise input_error(f"requested model '{name[:128]}' is not available; {reason}")
        if number not in (None, model.version):
            text = f"requested model version is not available for model '{name}'"
            raise input_error(f"{text}; the version is {model.version}")
        return model

    def ready_models(self) -> list[ServedModel]:
        """The models that are ready, in the order of their names."""
        return sorted((model for model in self.values() if model.ready), key=lambda model: model.name)

    def _names(self) -> str:
        return f"the models are {', '.join(self)}" if self else "no model is loaded"

    def not_ready_reason(self) -> str:
        """The reasons why models are not ready; "" if all are."""
        return "; ".join(filter(None, (model.not_ready_reason() for model in self.values())))

    async def reject_backlogs(self, _: float) -> None:
        """Reject the requests that wait for later requests. It is called when the service stops."""
        for model in self.values():
            model.reject_backlog()

    def close(self) -> None:
        """Close all models."""
        for model in self.values():
            model.close()
