"""Requests to load and unload models while the service runs, as with Triton's explicit model control."""

from __future__ import annotations

import functools
from concurrent.futures import Future

from .control_queue import ControlQueue
from .control_request import ControlOutcome, ControlRequest, control_is_off, unknown_model
from .model_changes import ModelChanges
from .models import ServedModels, loading_threads
from .request_errors import RequestError, internal_error

MAX_WAITING = 256
"""Maximum number of requests to load or unload models that wait."""


class ModelControl:
    """Performs all requests to load or unload one of `models`; they are rejected unless `explicit`.

    Requests for models that call each other are performed in order, others in parallel.
    """

    def __init__(self, models: ServedModels, *, explicit: bool) -> None:
        self.explicit = explicit
        """Whether models can be loaded and unloaded."""
        self._models = models
        self._groups = models.factory.groups() if explicit else {}
        self._changes = ModelChanges(models)
        self._queue = ControlQueue[ControlOutcome](loading_threads(), MAX_WAITING)

    def perform(self, request: ControlRequest) -> Future[ControlOutcome]:
        """The future outcome of `request`: for a load when the model is ready or has failed, for an unload when the
        model accepts no more requests. Any thread can call it. If the service stops, the future has a RequestError."""
        try:
            if not self.explicit:
                raise control_is_off()
            group = self._groups.get(request.name)
            if group is not None:
                return self._queue.submit(group, functools.partial(self._perform, request, group))
            if request.action == "load":
                raise unknown_model(request.name)
            outcome = ControlOutcome()  # as on Triton, a model that does not exist is unloaded
        except RequestError as error:
            outcome = ControlOutcome.of_error(error)
        future: Future[ControlOutcome] = Future()
        future.set_result(outcome)
        return future

    def close(self) -> None:
        """Accept no more requests; those that wait fail."""
        self._queue.close()

    def _perform(self, request: ControlRequest, group: str) -> ControlOutcome:
        try:
            for model in self._models.values():
                if self._groups[model.name] == group:
                    model.settled.wait()  # it can be one of those that are loaded at startup
            if request.action == "load":
                self._changes.load(request.name, request.max_batch_size)
            else:
                self._changes.unload(request.name, dependents=request.unload_dependents)
        except RequestError as error:
            return ControlOutcome.of_error(error)
        except Exception as error:  # noqa: BLE001  # the client gets an answer, and the next request is performed
            return ControlOutcome.of_error(internal_error(error, f"{request.action} of model '{request.name}'"))
        return ControlOutcome()
