"""Inference over HTTP: reads a request's body, runs the model, and sends the response."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from ..codec import SMALL_BYTES, EncodedResponse, ParsedRequest
from ..codec.binary_data import HEADER, Body, Chunk
from ..codec.compression import response_encoding
from ..codec.core_faults import describe_rejected
from ..memory_budget import MemoryShare
from ..model_versions import path_version
from ..request_errors import RequestError, client_disconnected, internal_error
from ..scheduling import Outputs
from ..served_model import ServedModel
from ..service import Service
from .body import Headers, Timer, read_body
from .error_responses import error_body, error_headers

Computed = tuple[ParsedRequest, Outputs]
_WATCH_AFTER_S = 0.05  # seconds after which a request is cancelled when its client disconnects
_LENGTH, _ENCODING, _ACCEPTS = HEADER.encode(), b"content-encoding", b"accept-encoding"
COMPUTED = "portalis.computed"
"""The key of a scope with what is known of the request: its RequestError, or the ParsedRequest and its outputs."""
_JSON, _OCTETS = (b"content-type", b"application/json"), (b"content-type", b"application/octet-stream")


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
            model = models.find_version(target.name, path_version(target.version))
            request_headers = dict(scope["headers"])
            response = await self._counted(model, scope, request_headers, receive, share, v2=target.v2)
            if response.json_length is not None:
                headers = [_OCTETS, (_LENGTH, b"%d" % response.json_length)]
            response = await self._compress(response, request_headers, headers, v2=target.v2)
        except Exception as raised:  # noqa: BLE001  # no traceback leaves the service
            error = raised if isinstance(raised, RequestError) else internal_error(raised)
            status, headers = error.status, [_JSON, *error_headers(error)]
            response = EncodedResponse.of(error_body(error, scope["path"]))
            # its traceback refers to the frames that hold the request, this one included
            raised.__traceback__ = raised.__context__ = None
            share.release()
        if response.size is None and scope["http_version"] == "1.0":  # which has no chunks
            response = EncodedResponse.of(*await self._service.codec.in_thread(list, response.chunks))
        if response.size is not None:
            headers = [(b"content-length", b"%d" % response.size), *headers]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if response.size is not None and response.size <= SMALL_BYTES:
            await send({"type": "http.response.body", "body": b"".join(response.chunks)})
            return
        with contextlib.suppress(RequestError):
            await _unless_gone(receive, self._stream(send, response.chunks))

    async def _counted(
        self, model: ServedModel, scope: Scope, headers: Headers, receive: Receive, share: MemoryShare, *, v2: bool
    ) -> EncodedResponse:
        metrics, settings = self._service.metrics, self._service.settings
        began, error = time.perf_counter(), None
        try:
            body = await read_body(
                receive, headers, share, max_bytes=settings.max_request_bytes, timeout_s=settings.body_timeout_s
            )
            began = time.perf_counter()
            with metrics.active.track_inprogress():
                computed = scope.get(COMPUTED) or await self._compute(model, headers, body, receive, share, v2=v2)
                return await self._encode(model, computed, share)
        except RequestError as raised:
            raised.insert_model_name(model.name)
            error = raised
            raise
        except asyncio.CancelledError:
            error = client_disconnected()
            raise
        finally:
            metrics.count_request(model.name, time.perf_counter() - began, error, "v2" if v2 else "json")

    async def _compute(
        self, model: ServedModel, headers: Headers, body: Body, receive: Receive, share: MemoryShare, *, v2: bool
    ) -> Computed:
        codec = self._service.codec
        request = await codec.decode_http(
            model.interface,
            body,
            content_encoding=_text(headers.get(_ENCODING)),
            header_length=_text(headers.get(_LENGTH)),
            v2=v2,
            share=share,
            cancellable=functools.partial(_unless_gone, receive),
        )
        try:
            return request, await _unless_gone(receive, self._service.run(model, request))
        except RequestError as error:
            raise (describe_rejected(error, model.interface, request) if v2 else error) from None

    async def _encode(
        self, model: ServedModel, computed: Computed | RequestError, share: MemoryShare
    ) -> EncodedResponse:
        if isinstance(computed, RequestError):
            raise computed
        codec, (request, outputs) = self._service.codec, computed
        if request.has_classes:
            request, outputs = await codec.classify(
                request, outputs, batches=model.interface.max_batch_size > 0, labels=model.labels, share=share
            )
        return await codec.encode_http(model.name, model.version, request, outputs, share)

    async def _compress(
        self, response: EncodedResponse, request_headers: Headers, headers: list[tuple[bytes, bytes]], *, v2: bool
    ) -> EncodedResponse:
        """`response`, compressed as Triton would. Under /v1 it is compressed only for clients that accept nothing else:
        for the others, which accept several encodings by default, it would be a waste of CPU time. The encoding is
        added to `headers`."""
        accepted = request_headers.get(_ACCEPTS)
        if accepted is None:
            return response
        encoding = response_encoding(accepted.decode("latin-1")).encode() if v2 else accepted.strip()
        if encoding not in (b"gzip", b"deflate"):
            return response
        headers.append((b"content-encoding", encoding))
        return await self._service.codec.compress(response, encoding)

    async def _stream(self, send: Send, chunks: Iterable[Chunk]) -> None:
        if isinstance(chunks, tuple):
            for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        else:
            encoder, in_thread = iter(chunks), self._service.codec.in_thread
            while (chunk := await in_thread(next, encoder, None)) is not None:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")


async def _unless_gone(receive: Receive, running: Any) -> Any:
    """The result of `running`, which is cancelled when the client disconnects. Raises RequestError then."""
    watchers: list[asyncio.Task[None]] = []

    async def watch(cancel: Callable[[], None]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        cancel()

    async with Timer(_WATCH_AFTER_S, lambda cancel: watchers.append(asyncio.ensure_future(watch(cancel)))) as timer:
        try:
            return await running
        except asyncio.CancelledError:
            if not timer.cancelled:
                raise
            raise client_disconnected() from None
        finally:
            for watcher in watchers:
                watcher.cancel()
