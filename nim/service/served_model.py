"""The base class of the models of the service: their state, and how they are started, run and closed."""

from __future__ import annotations

import abc
import asyncio
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from .codec import ParsedRequest
from .loop_calls import OnWait, wait_for
from .request_errors import ModelClosed, RequestError, internal_error, unavailable
from .runtime_api import Interface, WasmError
from .scheduling import Outputs
from .settings_table import SettingsTable

_LOG = logging.getLogger(__name__)


class ServedModel(abc.ABC):
    """A model of the service. `start` loads it once; afterwards it answers requests until `close`."""

    platform: ClassVar[str]
    """The kind of model, as clients of the Open Inference Protocol see it."""

    settings: SettingsTable
    """The settings of the model."""

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
        self.unloaded = False
        """Whether the model was unloaded, and not replaced."""
        self.successor: ServedModel | None = None
        """The model that has replaced this one. Requests that found this one before may still arrive."""
        self.closed = threading.Event()
        """Set once a model that was unloaded or replaced is closed."""
        self._stamp: list[tuple[int, int, int] | None] = []

    @property
    def repository_state(self) -> Literal["READY", "LOADING", "UNAVAILABLE"]:
        """The model's state in the index of the Open Inference Protocol's repository, as long as it is served."""
        return "READY" if self.ready else "UNAVAILABLE" if self.failure else "LOADING"

    def not_ready_reason(self) -> str:
        """The reason why the model is not ready; "" if it is."""
        if self.failure:
            return f"model '{self.name}' failed: {self.failure}"
        return "" if self.ready else f"model '{self.name}' is still loading"

    @property
    def files(self) -> list[Path]:
        """The files that the model is loaded from."""
        return []

    def is_current(self) -> bool:
        """Whether the files of the model are the same as when it was loaded."""
        return self._stamp == [_stamp(file) for file in self.files]

    def start(self) -> None:
        """Load the model and run its first request; a failure is noted in `failure`, and logged."""
        try:
            self._start_once()
        finally:
            self.settled.set()

    def _start_once(self) -> None:
        began = time.monotonic()
        self._stamp = [_stamp(file) for file in self.files]
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

    @property
    def copies_inputs_once(self) -> bool:
        """Whether `run` reads inputs of numbers only to copy them to a guest, each time that it calls it, and calls
        `take_outputs` of the request. Otherwise no one else may change inputs meanwhile. Raises RequestError with
        status 503 before the model is loaded."""
        return False

    @abc.abstractmethod
    async def run(self, request: ParsedRequest) -> Outputs:
        """The outputs for `request`, arrays by name. Raises RequestError, with status 503 before the first request has
        run."""

    def try_run(self, request: ParsedRequest) -> Outputs | None:
        """The outputs for `request`, if they can be computed in this thread in a fraction of a millisecond; None
        otherwise. Raises RequestError."""
        return None

    def run_blocking(self, request: ParsedRequest, loop: asyncio.AbstractEventLoop, on_wait: OnWait) -> Outputs:
        """The outputs for the calling thread, which waits; `loop` is the event loop of the service. Raises
        RequestError, with status 499 if `on_wait` cancels the request."""
        return wait_for(self.run(request), loop, on_wait)

    @abc.abstractmethod
    def statistics_document(self) -> dict[str, Any]:
        """The model's entry of ``model_stats``. Raises RequestError with status 503 before the first request has
        run."""

    def complete_config(self, config: Any) -> None:  # noqa: B027  # not abstract: most of a configuration is common
        """Complete `config`, the model's ``ModelConfig``, with everything that depends on the kind of the model:
        scheduling, instances and parameters."""

    def reject_backlog(self) -> None:  # noqa: B027  # not abstract: most models have none
        """Reject the requests that wait for later requests, which do not arrive when the service stops."""

    def retire(self) -> None:
        """Close a model that requests cannot find any more, once the requests that have found it are answered."""
        try:
            self.finish()
            self.close()
        finally:
            self.closed.set()

    def finish(self) -> None:  # noqa: B027  # not abstract: most models finish when they are closed
        """Wait until the requests are answered that `close` does not wait for. Their event loop must run."""

    @abc.abstractmethod
    def close(self) -> None:
        """Finish the accepted requests, and free what was loaded."""

    @abc.abstractmethod
    def _start(self) -> None:
        """Load the model, and run its first request. Raises WasmError, RequestError or OSError."""

    def _unavailable(self) -> RequestError:
        return unavailable(f"{self._not_at_ready_state}; {self.not_ready_reason()}")

    @property
    def _not_at_ready_state(self) -> str:
        return f"Request for unknown model: '{self.name}' version {self.version} is not at ready state"

    def _successor(self, error: ModelClosed) -> ServedModel:
        """The model for a request that found this one before it was closed, and got `error`. Raises RequestError with
        status 503 if no other model with the same interface has replaced it."""
        successor = self.successor
        if successor is None:
            raise unavailable(f"{self._not_at_ready_state}; it was unloaded") if self.unloaded else error
        # a request is prepared for both
        if (successor.interface, successor.copies_inputs_once) != (self.interface, self.copies_inputs_once):
            raise unavailable(f"{self._not_at_ready_state}; it was replaced by one with another interface; retry")
        return successor


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Time, size and number of a file, which change with its content; None for a file that cannot be read."""
    try:
        status = os.stat(file)  # noqa: PTH116  # of the file that a link leads to
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
