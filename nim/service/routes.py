"""The requests that infer, in front of the framework, which costs more than a small inference.

The framework has the same paths for the API's description, and answers all but the right method.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread
from starlette.types import ASGIApp, Receive, Scope, Send

from . import bodies, problems
from .binary import HEADER, Piece
from .bodies import Headers, Timer
from .inference import Answer, Question, answered, understood
from .models import Model
from .problems import Problem
from .runtime import Interface

if TYPE_CHECKING:
    from .app import Service

QUICK_BYTES = 1 << 16
"""Up to here a body is read and written on the event loop: a thread would take longer to come."""
_PATIENCE_S = 0.05  # then somebody looks whether the client is still there
_LENGTH, _ENCODING, _ACCEPTS = HEADER.encode(), b"content-encoding", b"accept-encoding"
_JSON, _OCTETS = (b"content-type", b"application/json"), (b"content-type", b"application/octet-stream")
Result = TypeVar("Result")


class Infer:
    """The ASGI application that answers requests to infer, and leaves all others to `app`."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        target = _target(scope)
        if target is None:
            await self._app(scope, receive, send)
            return
        name, version, v2 = target
        scope["path_params"] = {"name": name}  # for the log
        status, headers = 200, [_JSON]
        try:
            models = self._service.models
            model = models.find_v2(name, version) if v2 else models.find(name)
            given = dict(scope["headers"])
            answer = await self._counted(model, given, receive, v2=v2)
            if answer.json_length is not None:
                headers = [_OCTETS, (_LENGTH, b"%d" % answer.json_length)]
            answer = await self._compressed(answer, given, headers)
        except Exception as error:  # noqa: BLE001  # no traceback leaves the service
            problem = error if isinstance(error, Problem) else problems.unexpected(error)
            status, headers = problem.status, [_JSON, *problems.headers_of(problem)]
            answer = Answer([problems.body_of(problem, scope["path"])])
        await _send(send, status, headers, answer.pieces)

    async def _counted(self, model: Model, headers: Headers, receive: Receive, *, v2: bool) -> Answer:
        metrics, settings = self._service.metrics, self._service.settings
        began, found = time.perf_counter(), None
        try:
            body = await bodies.read(
                receive, headers, most=settings.max_request_bytes, timeout_s=settings.body_timeout_s
            )
            began = time.perf_counter()
            with metrics.active.track_inprogress():
                return await self._answer(model, headers, body, receive, v2=v2)
        except Problem as problem:
            found = problem
            raise
        except asyncio.CancelledError:
            found = bodies.gone()
            raise
        finally:
            metrics.count(model.name, time.perf_counter() - began, found, "v2" if v2 else "json")

    async def _answer(self, model: Model, headers: Headers, body: bytes, receive: Receive, *, v2: bool) -> Answer:
        scheduler, interface = model.scheduler, model.program.interface
        if _ENCODING in headers:
            encoding, most = headers[_ENCODING].decode("latin-1"), self._service.settings.max_request_bytes
            body = await self._in_thread(bodies.decompressed, body, encoding, most)
        length = headers[_LENGTH].decode("latin-1") if _LENGTH in headers else None
        if len(body) <= QUICK_BYTES:
            question = understood(interface, body, length, v2=v2)
        else:
            question = await self._in_thread(_understood, interface, body, length, v2)
        running = scheduler.run(question.inputs, timeout_s=question.timeout_s, guest_timeout_s=question.guest_timeout_s)
        outputs = await _unless_gone(receive, running)
        if sum(array.nbytes for array in outputs.values()) <= QUICK_BYTES:
            return answered(model, question, outputs)
        return await self._in_thread(answered, model, question, outputs)

    async def _compressed(self, answer: Answer, given: Headers, headers: list[tuple[bytes, bytes]]) -> Answer:
        """Only for who asks for nothing else, as Triton's client does: to others it would be a waste of CPU."""
        accepted = given.get(_ACCEPTS, b"").strip()
        if accepted not in (b"gzip", b"deflate"):
            return answer
        headers.append((b"content-encoding", accepted))
        return Answer([await self._in_thread(_compressed, answer.pieces, 31 if accepted == b"gzip" else 15)])

    async def _in_thread(self, work: Callable[..., Result], *given: Any) -> Result:
        return await anyio.to_thread.run_sync(work, *given, limiter=self._service.limiter)


def _target(scope: Scope) -> tuple[str, str | None, bool] | None:
    """The model and version that a request to infer is for, and whether it is one of /v2; None for all others."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    match scope["path"].split("/"):
        case ["", "v1" | "v2" as api, "models", name, "infer"]:
            return name, None, api == "v2"
        case ["", "v2", "models", name, "versions", version, "infer"]:
            return name, version, True
    return None


def _understood(interface: Interface, body: bytes, length: str | None, v2: bool) -> Question:
    return understood(interface, body, length, v2=v2)


def _compressed(pieces: list[Piece], window: int) -> bytes:
    writer = zlib.compressobj(1, zlib.DEFLATED, window)
    return b"".join([*map(writer.compress, pieces), writer.flush()])


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
            raise bodies.gone() from None
        finally:
            for watcher in watchers:
                watcher.cancel()


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], pieces: list[Piece]) -> None:
    size = sum(map(len, pieces))
    told = [(b"content-length", b"%d" % size), *headers]
    await send({"type": "http.response.start", "status": status, "headers": told})
    if size <= QUICK_BYTES and len(pieces) > 1:
        pieces = [b"".join(pieces)]
    for index, piece in enumerate(pieces, 1):
        await send({"type": "http.response.body", "body": piece, "more_body": index < len(pieces)})
