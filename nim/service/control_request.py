"""Requests to load or unload a model, and their outcomes: plain data, which can be passed to another process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .request_errors import INTERNAL, RequestError, unavailable

CONTROL_IS_OFF = "explicit model load / unload is not allowed if polling is enabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRequest:
    """A request to load or unload the model `name`, which need not exist."""

    action: Literal["load", "unload"]
    name: str
    unload_dependents: bool = False
    """Whether to unload the models that only the unloaded ensemble uses, too."""
    max_batch_size: int | None = None
    """Replaces the batch size of a module that is loaded; None for the one of its settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOutcome:
    """The success of a request, or the fields of its RequestError."""

    status: int = 200
    kind: str = ""
    message: str = ""

    @classmethod
    def of_error(cls, error: RequestError) -> ControlOutcome:
        """The outcome of a request that failed with `error`."""
        return cls(status=error.status, kind=error.kind, message=error.message)

    def check(self) -> None:
        """Raise RequestError unless the request has succeeded."""
        if self.status != 200:
            raise RequestError(self.status, self.kind, self.message)


def control_is_off() -> RequestError:
    """Models cannot be loaded and unloaded."""
    return unavailable(f"{CONTROL_IS_OFF}; the service loads all models at startup, because model_control is none")


def unknown_model(name: str) -> RequestError:
    """The service has no model that could be loaded as `name`."""
    text = f"failed to load '{name[:128]}', failed to poll from model repository"
    return RequestError(500, INTERNAL, f"{text}; no model of service.json has this name")
