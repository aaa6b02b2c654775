"""Changes of the models that are served: loads, reloads and unloads, with the ensembles that are affected."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .models import ServedModels
from .request_errors import input_error, internal_error
from .served_model import ServedModel

MAX_CLOSING = 2
"""Maximum number of models with the same name that finish their last requests after they were unloaded or replaced."""
_GRACE_S = 1.0
"""Seconds in which requests that have found a model can still reach it, if the one that replaces it is different."""
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Change:
    """The changes of one load."""

    loaded: set[str] = field(default_factory=set)
    replaced: list[ServedModel] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """The reasons why models could not be loaded; a model that was ready before still is."""


class ModelChanges:
    """Loads and unloads `models`. No two threads may change models that call each other at the same time."""

    def __init__(self, models: ServedModels) -> None:
        self._models, self._factory = models, models.factory
        # the models that should be served: whether on their own account, or only because an ensemble calls them
        self._wanted = {name: name in models.own for name in models}
        self._closing = Counter[str]()
        self._closed = threading.Condition()  # guards the counter

    def load(self, name: str, max_batch_size: int | None) -> None:
        """Load the model `name` and the models that it calls, except those that are ready and whose files have not
        changed. Ensembles that call a loaded model call the new one.

        Requests that a replaced model has accepted are finished. Raises RequestError if `name` cannot be loaded; if it
        was ready, it still is.
        """
        factory, change = self._factory, _Change()
        if max_batch_size is not None and factory.is_ensemble(name):
            raise input_error(f"failed to load '{name}'; the batch size of an ensemble cannot be changed")
        needed = factory.with_steps([name])
        self._wanted[name] = True
        for each in needed:
            self._wanted.setdefault(each, False)
            if not factory.is_ensemble(each):
                self._load_module(each, max_batch_size, change, is_requested=each == name)
        affected = {*needed, *factory.ensembles_with(change.loaded)}
        for each in factory:
            if each in affected and factory.is_ensemble(each) and each in self._wanted:
                self._load_ensemble(each, change)
        self._close(change.replaced)
        if name in change.failures:
            raise input_error(f"load failed for model '{name}': {change.failures[name]}")

    def unload(self, name: str, *, dependents: bool) -> None:
        """Unload the model `name`, if it is loaded, and the ensembles that call it, until it is loaded again. With
        `dependents`, also unload the models that only it calls, and that were not loaded on their own account.

        Requests that the models have accepted are finished.
        """
        unloaded = self._with_dependents(name) if dependents else {name}
        for each in unloaded:
            self._wanted.pop(each, None)
        affected = {*unloaded, *self._factory.ensembles_with(unloaded)}
        # the outer ensembles first: as long as they are served, the models that they call are, too
        removed = [self._models.remove(each) for each in reversed([*self._factory]) if each in affected]
        self._close([model for model in removed if model is not None])

    def _with_dependents(self, name: str) -> set[str]:
        unloaded = {name}
        for each in reversed(self._factory.with_steps([name])):
            callers = [other for other in list(self._wanted) if each in self._factory.steps(other)]
            if callers and unloaded.issuperset(callers) and not self._wanted.get(each):
                unloaded.add(each)
        return unloaded

    def _load_module(self, name: str, max_batch_size: int | None, change: _Change, *, is_requested: bool) -> None:
        served = self._models.get(name)
        settings = self._factory.settings(name, max_batch_size if is_requested else None)
        has_settings = served is not None and (not is_requested or served.settings == settings)
        if served is not None and served.ready and has_settings and served.is_current():
            return
        self._await_closed(name)
        model = self._factory.create(name, self._models, max_batch_size if is_requested else None)
        keeps = served is not None and served.ready
        if not keeps:
            self._replace(model, change)  # so that its state can be seen
        model.start()
        if not model.ready:
            change.failures[name] = f"version {model.version} is at UNAVAILABLE state: {model.failure};"
        if keeps and model.ready:
            self._replace(model, change)
        elif keeps:
            model.close()

    def _load_ensemble(self, name: str, change: _Change) -> None:
        """Load an ensemble, unless it calls the same models as before. One that cannot be loaded is not served."""
        served = self._models.get(name)
        steps = self._factory.steps(name)
        if served is not None and served.ready and served.is_current() and not steps & change.loaded:
            return
        for step in sorted(steps):
            model = self._models.get(step)
            if model is None or not model.ready:
                reason = change.failures.get(step, "it is not loaded")
                text = f"ensemble '{name}' depends on '{step}' which has no loaded version"
                self._reject(name, f"{text}. Model '{step}' loading failed with error: {reason}", change)
                return
        ensemble = self._factory.create(name, self._models)
        ensemble.start()
        if ensemble.ready:
            self._replace(ensemble, change)
        else:
            self._reject(name, ensemble.failure, change)

    def _replace(self, model: ServedModel, change: _Change) -> None:
        replaced = self._models.publish(model)
        change.loaded.add(model.name)
        if replaced is not None:
            change.replaced.append(replaced)

    def _reject(self, name: str, reason: str, change: _Change) -> None:
        change.failures[name] = reason
        removed = self._models.remove(name)
        if removed is not None:
            change.replaced.append(removed)
        _LOG.error("ensemble '%s' is not served: %s", name, reason)

    def _await_closed(self, name: str) -> None:
        """Wait until few enough models that were called `name` still finish requests: they use memory."""
        with self._closed:
            self._closed.wait_for(lambda: self._closing[name] < MAX_CLOSING)

    def _close(self, models: Sequence[ServedModel]) -> None:
        """Close `models` in a thread."""
        if models:
            with self._closed:
                self._closing.update(model.name for model in models)
            threading.Thread(target=self._retire, args=[models], name="model closer", daemon=True).start()

    def _retire(self, models: Sequence[ServedModel]) -> None:
        if any(map(_is_different, models)):
            time.sleep(_GRACE_S)
        # the ensembles first: their requests reach the other models
        for model in sorted(models, key=lambda each: not self._factory.is_ensemble(each.name)):
            try:
                model.retire()
            except Exception as error:  # noqa: BLE001  # the others are closed all the same
                internal_error(error, f"close of model '{model.name}'")
            with self._closed:
                self._closing[model.name] -= 1
                self._closed.notify_all()


def _is_different(model: ServedModel) -> bool:
    """Whether requests for `model` cannot be passed to the one that replaces it."""
    successor = model.successor
    return model.ready and successor is not None and successor.ready and successor.interface != model.interface
