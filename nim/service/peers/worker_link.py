"""The view that a worker process has of the whole service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from ..request_errors import RequestError, unavailable
from .channel import Channel, ChannelClosed, Handler

ANSWER_S = 10.0
"""Time limit in seconds for an answer of the supervisor, which has shorter limits for the answers of workers."""


class WorkerLink:
    """The connection of a worker to its supervisor. Any thread can use it.

    The supervisor reports which processes and models are not ready, asks for the worker's part of an answer, and merges
    the answers of all workers.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        """The number of the worker, from 1 on."""
        self.handlers: dict[str, Handler] = {"peers": self._set_reasons}
        """Handlers of messages by kind; all must be added before `attach`."""
        self.report_state: Callable[[], None] = lambda: None
        """Reports the state of the models to the supervisor."""
        self._channel: Channel | None = None
        self._reason = "its other processes are starting"
        self._model_reasons: Mapping[str, str] = {}

    def attach(self, channel: Channel) -> None:
        """Use `channel`, whose handlers are those of the link."""
        self._channel = channel

    def not_ready_reason(self) -> str:
        """The reason why a process of the service is not ready; "" if all are."""
        return self._reason

    def model_reason(self, name: str) -> str:
        """The reason why a model is not ready in one of the processes; "" if it is in all."""
        return self._model_reasons.get(name, "")

    def notify(self, kind: str, body: Any) -> None:
        """Send a message without a response to the supervisor."""
        if self._channel is not None:
            self._channel.notify(kind, body)

    def request(self, kind: str, body: Any) -> Future[Any]:
        """The future answer of the whole service. Its exception is ChannelClosed if the supervisor ends before."""
        assert self._channel is not None, "the link is attached before requests arrive"
        return self._channel.request(kind, body)

    async def ask(self, kind: str, body: Any = None, *, timeout_s: float | None = ANSWER_S) -> Any:
        """The answer of the whole service. Raises RequestError with status 503 if it does not arrive in time."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self.request(kind, body)), timeout_s)
        except (asyncio.TimeoutError, ChannelClosed):
            raise unavailable("the supervisor of the worker processes does not respond; retry later") from None

    def _set_reasons(self, body: Mapping[str, Any]) -> None:
        self._model_reasons, self._reason = body["models"], body["reason"]


def pack_error(error: RequestError) -> list[Any]:
    """The fields of `error`, for a message."""
    return [error.status, error.kind, error.message]


def check_error(fields: list[Any] | None) -> None:
    """Raise the error that `pack_error` returned, if there is one."""
    if fields:
        raise RequestError(*fields)
