"""Creates the models of a service from its settings, and knows which ensembles consist of which models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .ensemble_nesting import nested_order
from .ensemble_settings import EnsembleSettings
from .ensembles import EnsembleModel
from .memory_budget import MemoryBudget
from .module_model import ModuleModel, SchedulerOptions
from .sequence_model import SequenceModel
from .served_model import ServedModel
from .settings import ModelSettings, ServiceSettings


class ModelFactory:
    """Creates models by name, any number of times."""

    def __init__(
        self, settings: ServiceSettings, folder: Path, options: SchedulerOptions, budget: MemoryBudget
    ) -> None:
        self._modules = {each.name: each for each in settings.models}
        # in an order in which each follows the ensembles that it contains
        self._ensembles = {each.name: each for each in nested_order(settings.ensembles)}
        self._folder, self._options, self._budget = folder, options, budget
        self._max_response_bytes = settings.max_response_bytes

    def __iter__(self) -> Iterator[str]:
        """The names of all models, each ensemble after the models of its steps."""
        yield from self._modules
        yield from self._ensembles

    def __contains__(self, name: object) -> bool:
        return name in self._modules or name in self._ensembles

    def is_ensemble(self, name: str) -> bool:
        """Whether the model `name` is an ensemble."""
        return name in self._ensembles

    def settings(self, name: str, max_batch_size: int | None = None) -> ModelSettings | EnsembleSettings:
        """The settings of a model; `max_batch_size` replaces the batch size of a module."""
        settings = self._modules.get(name)
        if settings is None:
            return self._ensembles[name]
        if max_batch_size is None:
            return settings
        return settings.model_copy(update={"interface": {**settings.interface, "max_batch_size": max_batch_size}})

    def create(self, name: str, models: Mapping[str, ServedModel], max_batch_size: int | None = None) -> ServedModel:
        """A new model, which is not loaded yet. An ensemble calls those of `models`."""
        settings = self.settings(name, max_batch_size)
        if isinstance(settings, EnsembleSettings):
            return EnsembleModel(settings, models, self._folder, self._budget, self._max_response_bytes)
        kind = ModuleModel if settings.sequence_batching is None else SequenceModel
        return kind(settings, self._folder, self._options)

    def steps(self, name: str) -> set[str]:
        """The models that an ensemble calls; none for a module."""
        return {step.model_name for step in self._ensembles[name].steps} if name in self._ensembles else set()

    def with_steps(self, names: Iterable[str]) -> list[str]:
        """`names` and all models that they call, also through other ensembles, in the order of the factory."""
        found, open_names = set(names), list(names)
        for name in open_names:  # grows
            new = self.steps(name) - found
            found |= new
            open_names += new
        return [name for name in self if name in found]

    def ensembles_with(self, names: Iterable[str]) -> list[str]:
        """The ensembles that call one of `names`, also through other ensembles, each after those that it contains."""
        found, ensembles = set(names), []
        for name in self._ensembles:
            if self.steps(name) & found:
                found.add(name)
                ensembles.append(name)
        return ensembles

    def groups(self) -> dict[str, str]:
        """The name of a group for each model: those that call each other, directly or not, have the same."""
        groups = {name: name for name in self}
        for name in self._ensembles:
            related = {groups[each] for each in (name, *self.steps(name))}
            groups |= {each: groups[name] for each, group in groups.items() if group in related}
        return groups
