"""Reports of the state of a service, for the process that started it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .settings import ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """The state of a model."""

    name: str
    ready: bool = False
    """Whether the model has answered its first request, in each process."""
    failure: str = ""
    """The reason why it could not be loaded; "" if it could, or is still loading."""
    example: str = ""
    """The body of an example request as JSON; "" unless the model is ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReport:
    """The state of a service."""

    settings: ServiceSettings
    host: str
    """The address on which the service listens."""
    models: tuple[ModelReport, ...]


def merge_reports(processes: Iterable[Sequence[ModelReport]]) -> tuple[ModelReport, ...]:
    """The reports of all models: a model is ready if it is ready in each process, and has failed if it has in one."""
    merged: dict[str, ModelReport] = {}
    for models in processes:
        for model in models:
            other = merged.get(model.name, model)
            merged[model.name] = ModelReport(
                name=model.name,
                ready=model.ready and other.ready,
                failure=other.failure or model.failure,
                example=model.example if model.ready and other.ready else "",
            )
    return tuple(merged.values())
