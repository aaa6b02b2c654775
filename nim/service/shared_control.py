"""Requests to load and unload models in all processes of a service with several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from .control_request import ControlOutcome, ControlRequest
from .model_control import ModelControl
from .models import ServedModels
from .peers.worker_link import WorkerLink
from .request_errors import RequestError, unavailable


class SharedControl(ModelControl):
    """The model control of a worker process: a request succeeds if it does in each process."""

    def __init__(self, models: ServedModels, link: WorkerLink, *, explicit: bool) -> None:
        super().__init__(models, explicit=explicit)
        self._link = link
        self._restoring: list[Future[ControlOutcome]] = []
        link.handlers["change model"] = self._change_own

    def perform(self, request: ControlRequest) -> Future[ControlOutcome]:
        """The future outcome of `request` in all processes."""
        if not self.explicit:
            return super().perform(request)
        return _then(self._link.request("control", asdict(request)), _outcome)

    def restore(self, requests: Iterable[Mapping[str, Any]]) -> None:
        """Perform requests that the other processes have performed, in this process; those that arrive later follow."""
        self._restoring = [super(SharedControl, self).perform(ControlRequest(**each)) for each in requests]

    def is_restored(self) -> bool:
        """Whether the requests of `restore` are performed."""
        return all(future.done() for future in self._restoring)

    def _change_own(self, body: Mapping[str, Any]) -> Future[dict[str, Any]]:
        """Perform a request in this process."""
        return _then(super().perform(ControlRequest(**body)), self._finish_own)

    def _finish_own(self, done: Future[ControlOutcome]) -> dict[str, Any]:
        self._link.report_state()  # before the response, so that the supervisor knows the state when it answers
        try:
            return asdict(done.result())
        except RequestError as error:
            return asdict(ControlOutcome.of_error(error))


def _then(future: Future[Any], convert: Callable[[Future[Any]], Any]) -> Future[Any]:
    """The future result of `convert` for `future`, once it is done."""
    result: Future[Any] = Future()
    result.set_running_or_notify_cancel()

    def finish(done: Future[Any]) -> None:
        try:
            result.set_result(convert(done))
        except Exception as error:  # noqa: BLE001  # for the caller
            result.set_exception(error)

    future.add_done_callback(finish)
    return result


def _outcome(done: Future[Any]) -> ControlOutcome:
    if done.exception() is not None:
        raise unavailable("the supervisor of the worker processes does not respond; retry later")
    return ControlOutcome(**done.result())
