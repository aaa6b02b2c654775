"""The inference endpoints. Each is declared once: its route, its OpenAPI description and the fast path come from it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from ..codec.inference_schema import InferRequest, InferResponse, V2InferRequest, V2InferResponse
from .inference import InferenceHandler, InferenceTarget
from .inline_schema import inline_schema
from .management_schema import V2_TAG, Responses, v1_errors, v2_errors

_ERRORS = {
    400: "the request is invalid, or does not match the model's interface",
    408: "the body was not complete in time",
    413: "the request is too large",
    429: "the queue of the model is full",
    500: "the module failed",
    503: "the model is not loaded, or this host cannot create another instance",
    504: "the module took too long",
}
_UNKNOWN_ENCODING = "the Content-Encoding is not supported"
_EXAMPLE = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.5, -1.0]}]}
_BINARY = {
    "application/octet-stream": {
        "schema": {"type": "string", "format": "binary", "title": "JSON, followed by raw tensors; or the only input"}
    }
}
_HEADER_LENGTH: dict[str, Any] = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "required": False,
    "description": "Length of the JSON in bytes; the raw tensors follow it. With 0, the body is the only input.",
    "schema": {"type": "integer", "minimum": 0},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceEndpoint:
    """One path that serves inference requests."""

    path: str
    """The path, with `{name}` and, if the request names a version, `{version}`."""
    v2: bool
    """Whether the endpoint uses the Open Inference Protocol, with its binary tensors and its error format."""
    name: str
    """Name of the route, from which the framework derives the summary and the operation id."""
    description: str
    tag: str
    request: type[BaseModel]
    response: type[BaseModel]
    responses: Responses
    _pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        # unlike the framework's patterns, an empty name matches: it is an unknown model, not an unknown path
        object.__setattr__(self, "_pattern", re.compile(re.sub(r"\{\w+\}", "([^/]*)", self.path)))

    def match(self, path: str) -> InferenceTarget | None:
        """The target of a request to `path`; None if this is not the endpoint's path."""
        match = self._pattern.fullmatch(path)
        return None if match is None else self._target(*match.groups())

    def bind(self, handler: InferenceHandler) -> Callable[..., Awaitable[Response]]:
        """An endpoint function for the framework, which describes the function's parameters as those of the path."""

        async def infer(name: str) -> Response:
            return InferenceResponse(handler, self._target(name))

        async def infer_version(name: str, version: str) -> Response:
            return InferenceResponse(handler, self._target(name, version))

        return infer_version if "{version}" in self.path else infer

    def openapi_extra(self) -> dict[str, Any]:
        """The header and body of the request, which the framework does not know because the handler reads them."""
        content = {"application/json": {"schema": inline_schema(self.request), "example": _EXAMPLE}}
        if not self.v2:
            return {"requestBody": {"required": True, "content": content}}
        # an empty body is a raw binary request without elements
        return {"parameters": [_HEADER_LENGTH], "requestBody": {"required": False, "content": content | _BINARY}}

    def _target(self, name: str, version: str | None = None) -> InferenceTarget:
        return InferenceTarget(name, version, self.v2)


class InferenceResponse(Response):
    """A response that runs `handler`, which reads the request and sends the response itself."""

    def __init__(self, handler: InferenceHandler, target: InferenceTarget) -> None:
        super().__init__()
        self._handler, self._inference_target = handler, target

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request for the target."""
        await self._handler(scope, receive, send, self._inference_target)


_V2_RESPONSES: Final[Responses] = {
    **v2_errors({**_ERRORS, 404: "unknown path, model or version", 501: _UNKNOWN_ENCODING}),
    200: {"content": _BINARY},
}
INFERENCE_ENDPOINTS: Final = (
    InferenceEndpoint(
        path="/v1/models/{name}/infer",
        v2=False,
        name="infer_with",
        description="Run a model on the tensors of the request.",
        tag="inference",
        request=InferRequest,
        response=InferResponse,
        responses=v1_errors({**_ERRORS, 404: "unknown model", 415: _UNKNOWN_ENCODING}),
    ),
    InferenceEndpoint(
        path="/v2/models/{name}/infer",
        v2=True,
        name="v2_infer",
        description="Run a model on the tensors of the request. Tensors of the request and of the response can be raw"
        " bytes after the JSON.",
        tag=V2_TAG,
        request=V2InferRequest,
        response=V2InferResponse,
        responses=_V2_RESPONSES,
    ),
    InferenceEndpoint(
        path="/v2/models/{name}/versions/{version}/infer",
        v2=True,
        name="v2_infer_version",
        description="Run one version of a model; otherwise the same as the path without a version.",
        tag=V2_TAG,
        request=V2InferRequest,
        response=V2InferResponse,
        responses=_V2_RESPONSES,
    ),
)


def inference_router(handler: InferenceHandler) -> APIRouter:
    """The routes of `INFERENCE_ENDPOINTS`, served by `handler`."""
    routes = APIRouter()
    for endpoint in INFERENCE_ENDPOINTS:
        routes.add_api_route(
            endpoint.path,
            endpoint.bind(handler),
            methods=["POST"],
            name=endpoint.name,
            description=endpoint.description,
            tags=[endpoint.tag],
            response_model=endpoint.response,
            responses=endpoint.responses,
            openapi_extra=endpoint.openapi_extra(),
        )
    return routes


class InferenceFastPath:
    """ASGI middleware: serves inference requests itself, and passes all others to `app`.

    It runs before the framework, whose overhead exceeds the time of a small inference. Requests with a different method
    are passed on too: the framework has the same paths, and rejects them.
    """

    def __init__(self, app: ASGIApp, handler: InferenceHandler) -> None:
        self._app, self._handler = app, handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        target = inference_target(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if target is None:
            await self._app(scope, receive, send)
        else:
            await self._handler(scope, receive, send, target)


def inference_target(path: str) -> InferenceTarget | None:
    """The target of an inference request to `path`; None for all other paths."""
    for endpoint in INFERENCE_ENDPOINTS:
        if (target := endpoint.match(path)) is not None:
            return target
    return None
