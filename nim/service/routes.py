"""The route that infers: the body is read within its limit, the work is done in a thread, and all is counted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from .inference import infer
from .problems import Problem
from .schema import ErrorEnvelope, InferRequest, InferResponse

if TYPE_CHECKING:
    from .app import Service

_ERRORS = {
    400: "the request is not understood, or does not fit the model",
    404: "there is no such model",
    413: "the request is too large",
    500: "the module failed",
    503: "the model is not loaded",
    504: "the module took too long",
}


def router(service: Service) -> APIRouter:
    """The routes of `service`."""
    routes = APIRouter()

    @routes.post(
        "/v1/models/{name}/infer",
        tags=["inference"],
        response_model=InferResponse,
        responses={code: {"model": ErrorEnvelope, "description": text} for code, text in _ERRORS.items()},
        openapi_extra={"requestBody": _request_body()},
    )
    async def infer_with(name: str, request: Request) -> Response:
        """Run a model on the tensors of the request."""
        model = service.models.find(name)
        began, problem = time.perf_counter(), None
        try:
            body = await _read(request, service.settings.max_request_bytes)
            began = time.perf_counter()
            with service.metrics.active.track_inprogress():
                answer = await anyio.to_thread.run_sync(infer, model, body, limiter=service.limiter)
            return Response(answer, media_type="application/json")
        except Problem as found:
            problem = found
            raise
        finally:
            service.metrics.count(model.name, time.perf_counter() - began, problem)

    return routes


async def _read(request: Request, most: int) -> bytes:
    """The body, which the framework would read without a limit.

    What is a little too large is read to its end and dropped: a client that is answered while it still sends sees a
    broken connection instead of the answer.
    """
    too_large = Problem(413, "RequestTooLargeError", f"the request is larger than {most} bytes, the limit")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > 2 * most:
        raise too_large
    body, size = bytearray(), 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > 2 * most:
                raise too_large
            if size <= most:
                body += chunk
    except ClientDisconnect:
        raise Problem(400, "ClientDisconnected", "the client left before its request was complete") from None
    if size > most:
        raise too_large
    return bytes(body)


def _request_body() -> dict[str, Any]:
    """The request's schema for the API description: the body is read by hand, so the framework cannot know it."""
    schema = InferRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    # what it refers to is among the response's schemas too, but for the outputs asked for
    named = schema.pop("$defs")
    schema["properties"]["outputs"]["anyOf"][0]["items"] = named["RequestedOutput"]
    return {"required": True, "content": {"application/json": {"schema": schema}}}
