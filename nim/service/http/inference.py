"""Inference over HTTP: reads a request's body, runs the model, and sends the response."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio.to_thread
from starlette.types import Receive, Scope, Send

from ..codec.binary_data import HEADER, Body, Piece, json_size
from ..codec.compression import compressed, decompressed
from ..codec.decoder_pool import LARGE_BYTES
from ..codec.encoding import size_of
from ..codec.request import SMALL_BYTES, Answer, Question, answered, understood
from ..memory_budget import MemoryShare
from ..models import ServedModel
from ..request_errors import RequestError, client_disconnected, internal_error, memory_exhausted, response_too_large
from ..runtime_api import Interface
from ..service import Service
from .body import Headers, Timer, read_body
from .error_responses import error_body, error_headers

_PATIENCE_S = 0.05  # then somebody looks whether the client is still there
_LENGTH, _ENCODING, _ACCEPTS = HEADER.encode(), b"content-encoding", b"accept-encoding"
_JSON, _OCTETS = (b"content-type", b"application/json"), (b"content-type", b"application/octet-stream")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class InferenceTarget:
    """The model that a request is for, and the protocol: the Open Inference Protocol (`v2`) or /v1."""

    name: str
    version: str | None
    v2: bool


class InferenceHandler:
    """Answers inference requests over HTTP."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send, target: InferenceTarget) -> None:
        """Answer one request for `target`."""
        scope["path_params"] = {"name": target.name}  # for the access log
        with self._service.budget.share() as share:
            await self._infer(scope, receive, send, share, target)

    async def _infer(
        self, scope: Scope, receive: Receive, send: Send, share: MemoryShare, target: InferenceTarget
    ) -> None:
        status, headers = 200, [_JSON]
        try:
            models = self._service.models
            model = models.find_v2(target.name, target.version) if target.v2 else models.find(target.name)
            given = dict(scope["headers"])
            answer = await self._counted(model, given, receive, share, v2=target.v2)
            if answer.json_length is not None:
                headers = [_OCTETS, (_LENGTH, b"%d" % answer.json_length)]
            answer = await self._compressed(answer, given, headers)
        except Exception as error:  # noqa: BLE001  # no traceback leaves the service
            problem = error if isinstance(error, RequestError) else internal_error(error)
            status, headers = problem.status, [_JSON, *error_headers(problem)]
            answer = Answer.of(error_body(problem, scope["path"]))
            # its traceback has the frames that hold the request, and this one is among them
            error.__traceback__ = error.__context__ = None
            share.drop()
        if answer.size is None and scope["http_version"] == "1.0":  # which has no chunks
            answer = Answer.of(*await self._in_thread(list, answer.pieces))
        if answer.size is not None:
            headers = [(b"content-length", b"%d" % answer.size), *headers]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if answer.size is not None and answer.size <= SMALL_BYTES:
            await send({"type": "http.response.body", "body": b"".join(answer.pieces)})
            return
        with contextlib.suppress(RequestError):
            await _unless_gone(receive, self._stream(send, answer.pieces))

    async def _counted(
        self, model: ServedModel, headers: Headers, receive: Receive, share: MemoryShare, *, v2: bool
    ) -> Answer:
        metrics, settings = self._service.metrics, self._service.settings
        began, found = time.perf_counter(), None
        try:
            body = await read_body(
                receive, headers, share, max_bytes=settings.max_request_bytes, timeout_s=settings.body_timeout_s
            )
            began = time.perf_counter()
            with metrics.active.track_inprogress():
                return await self._answer(model, headers, body, receive, share, v2=v2)
        except RequestError as problem:
            found = problem
            raise
        except asyncio.CancelledError:
            found = client_disconnected()
            raise
        finally:
            metrics.count_request(model.name, time.perf_counter() - began, found, "v2" if v2 else "json")

    async def _answer(
        self, model: ServedModel, headers: Headers, body: Body, receive: Receive, share: MemoryShare, *, v2: bool
    ) -> Answer:
        scheduler, interface, settings = model.scheduler, model.program.interface, self._service.settings
        if _ENCODING in headers:
            encoding = headers[_ENCODING].decode("latin-1")
            most = settings.max_request_bytes
            body = await self._in_thread(decompressed, body, encoding, most, share.take)
        length = headers[_LENGTH].decode("latin-1") if _LENGTH in headers else None
        if len(body) <= SMALL_BYTES:
            question = understood(interface, body, length, v2=v2)
        elif json_size(body, length if v2 else None) < LARGE_BYTES:
            question = await self._in_thread(_understood, interface, body, length, v2)
        else:
            decoding = self._service.decoders.http(interface, body, length, v2=v2)
            question = await _unless_gone(receive, decoding)
        running = scheduler.run(question.inputs, timeout_s=question.timeout_s, guest_timeout_s=question.guest_timeout_s)
        outputs = await _unless_gone(receive, running)
        arrays = outputs.values()
        if sum(array.nbytes for array in arrays) <= SMALL_BYTES and size_of(arrays) <= SMALL_BYTES:
            return answered(model.name, model.settings.version, question, outputs)
        size = await self._in_thread(size_of, arrays)
        if size > settings.max_response_bytes:
            raise response_too_large(size, settings.max_response_bytes)
        if not share.take(len(body) + size):
            raise memory_exhausted()
        return await self._in_thread(answered, model.name, model.settings.version, question, outputs)

    async def _compressed(self, answer: Answer, given: Headers, headers: list[tuple[bytes, bytes]]) -> Answer:
        """Only for who asks for nothing else, as Triton's client does: to others it would be a waste of CPU."""
        accepted = given.get(_ACCEPTS, b"").strip()
        if accepted not in (b"gzip", b"deflate"):
            return answer
        headers.append((b"content-encoding", accepted))
        pieces = compressed(answer.pieces, accepted)
        if answer.size is None or answer.size > SMALL_BYTES:
            return Answer(pieces, None)
        return Answer.of(*await self._in_thread(list, pieces))

    async def _stream(self, send: Send, pieces: Iterable[Piece]) -> None:
        if isinstance(pieces, tuple):
            for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        else:
            coming = iter(pieces)
            while (made := await self._in_thread(next, coming, None)) is not None:
                await send({"type": "http.response.body", "body": made, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _in_thread(self, work: Callable[..., Result], *given: Any) -> Result:
        return await anyio.to_thread.run_sync(work, *given, limiter=self._service.limiter)


def _understood(interface: Interface, body: bytes, length: str | None, v2: bool) -> Question:
    return understood(interface, body, length, v2=v2)


async def _unless_gone(receive: Receive, running: Any) -> Any:
    """What `running` gives, cancelled when the client goes meanwhile."""
    watchers: list[asyncio.Task[None]] = []

    async def watch(cancel: Callable[[], None]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        cancel()

    async with Timer(_PATIENCE_S, lambda cancel: watchers.append(asyncio.ensure_future(watch(cancel)))) as timer:
        try:
            return await running
        except asyncio.CancelledError:
            if not timer.cancelled:
                raise
            raise client_disconnected() from None
        finally:
            for watcher in watchers:
                watcher.cancel()
