"""The base class of the models of the service: their state, and how they are started, run and closed."""

from __future__ import annotations

import abc
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from .codec import ParsedRequest
from .request_errors import RequestError, internal_error, unavailable
from .runtime_api import Interface, WasmError
from .scheduling import Outputs

_LOG = logging.getLogger(__name__)


class ServedModel(abc.ABC):
    """A model of the service. `start` loads it once; afterwards it answers requests until `close`."""

    platform: ClassVar[str]
    """The kind of model, as clients of the Open Inference Protocol see it."""

    def __init__(self, name: str, version: str, label_files: Mapping[str, str]) -> None:
        self.name = name
        """The name that requests use."""
        self.version = version
        """The only version of the model."""
        self.loaded_at = 0
        """Seconds since 1970, 0 before the model is loaded."""
        self.failure = ""
        """The reason why loading or the first request failed; "" if they did not."""
        self.ready = False
        """Whether the model has answered its first request."""
        self.label_files = label_files
        """The names of the label files, by the name of the output."""
        self.labels: Mapping[str, Sequence[bytes]] = {}
        """The labels of the classes, by the name of the output."""
        self.settled = threading.Event()
        """Set once the model is ready or has failed."""

    @property
    def repository_state(self) -> Literal["READY", "LOADING", "UNAVAILABLE"]:
        """The model's state in the index of the Open Inference Protocol's repository."""
        return "READY" if self.ready else "UNAVAILABLE" if self.failure else "LOADING"

    def not_ready_reason(self) -> str:
        """The reason why the model is not ready; "" if it is."""
        if self.failure:
            return f"model '{self.name}' failed: {self.failure}"
        return "" if self.ready else f"model '{self.name}' is still loading"

    def start(self) -> None:
        """Load the model and run its first request; a failure is noted in `failure`, and logged."""
        try:
            self._start_once()
        finally:
            self.settled.set()

    def _start_once(self) -> None:
        began = time.monotonic()
        try:
            self._start()
        except (WasmError, RequestError) as error:
            self.failure = str(error)
        except OSError as error:
            self.failure = f"cannot read {error.filename}: {error.strerror}"
        except Exception as error:  # noqa: BLE001  # otherwise the model would stay in the state of loading
            self.failure = internal_error(error, f"model '{self.name}'").message
        if self.failure:
            _LOG.error("%s", self.not_ready_reason())
            return
        self.ready = True
        _LOG.info("model '%s' is ready after %.2f s", self.name, time.monotonic() - began)

    @property
    @abc.abstractmethod
    def interface(self) -> Interface:
        """The inputs and outputs. Raises RequestError with status 503 before the model is loaded."""

    @abc.abstractmethod
    async def run(self, request: ParsedRequest) -> Outputs:
        """The outputs for `request`, arrays by name. Raises RequestError, with status 503 before the first request has
        run."""

    @abc.abstractmethod
    def statistics_document(self) -> dict[str, Any]:
        """The model's entry of ``model_stats``. Raises RequestError with status 503 before the first request has
        run."""

    def complete_config(self, config: Any) -> None:  # noqa: B027  # not abstract: most of a configuration is common
        """Complete `config`, the model's ``ModelConfig``, with everything that depends on the kind of the model:
        scheduling, instances and parameters."""

    @abc.abstractmethod
    def close(self) -> None:
        """Finish the accepted requests, and free what was loaded."""

    @abc.abstractmethod
    def _start(self) -> None:
        """Load the model, and run its first request. Raises WasmError, RequestError or OSError."""

    def _unavailable(self) -> RequestError:
        return unavailable(self.not_ready_reason())
