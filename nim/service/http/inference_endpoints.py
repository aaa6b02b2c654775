"""What the API's description says of inference, whose requests are answered in front of the framework (`routes`)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from ..codec.inference_schema import ErrorEnvelope, InferRequest, InferResponse, V2InferRequest, V2InferResponse
from .management_v2 import NO_PATH, TAG, Responses, errors

_ERRORS = {
    400: "the request is not understood, or does not fit the model",
    408: "the request's body did not come in time",
    413: "the request is too large",
    415: "the request's Content-Encoding is not known",
    429: "as many requests wait for the model as may",
    500: "the module failed",
    503: "the model is not loaded, or this host has no room for another instance",
    504: "the module took too long",
}
_BINARY = {"schema": {"type": "string", "format": "binary", "title": "JSON, and raw tensors behind it"}}
_EXAMPLE = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.5, -1.0]}]}
_LENGTH: dict[str, Any] = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "required": False,
    "description": "Where the JSON ends, in bytes, and raw tensors begin.",
    "schema": {"type": "integer", "minimum": 0},
}


def router() -> APIRouter:
    """The routes, for the description and for the methods that they have not."""
    routes = APIRouter()
    unknown: Responses = {404: {"model": ErrorEnvelope, "description": "there is no such model"}}
    refused: Responses = {code: {"model": ErrorEnvelope, "description": text} for code, text in _ERRORS.items()}

    @routes.post(
        "/v1/models/{name}/infer",
        tags=["inference"],
        response_model=InferResponse,
        responses={**refused, **unknown},
        openapi_extra={"requestBody": _body(InferRequest)},
    )
    async def infer_with(name: str) -> Response:
        """Run a model on the tensors of the request."""
        raise NotImplementedError(name)

    v2: dict[str, Any] = {
        "tags": [TAG],
        "response_model": V2InferResponse,
        "responses": {**errors({**_ERRORS, **NO_PATH}), 200: {"content": {"application/octet-stream": _BINARY}}},
        "openapi_extra": {"parameters": [_LENGTH], "requestBody": _body(V2InferRequest, binary=True)},
    }

    @routes.post("/v2/models/{name}/infer", **v2)
    async def v2_infer(name: str) -> Response:
        """Run a model on the tensors of the request, which may be raw bytes behind the JSON, as may be the answer's."""
        raise NotImplementedError(name)

    @routes.post("/v2/models/{name}/versions/{version}/infer", **v2)
    async def v2_infer_version(name: str, version: str) -> Response:
        """Run one version of a model, as above."""
        raise NotImplementedError(name, version)

    return routes


def _body(kind: type[BaseModel], *, binary: bool = False) -> dict[str, Any]:
    """The request's schema: the body is read by hand, so the framework cannot know it."""
    content = {"application/json": {"schema": _inlined(kind.model_json_schema()), "example": _EXAMPLE}}
    return {"required": True, "content": {**content, **({"application/octet-stream": _BINARY} if binary else {})}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` without references, which the framework would look for among the schemas that it has made itself."""
    definitions = schema.pop("$defs", {})

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            rest = {key: each for key, each in value.items() if key != "$ref"}
            return resolved({**definitions[value["$ref"].removeprefix("#/$defs/")], **rest})
        return {key: resolved(each) for key, each in value.items()}

    result: dict[str, Any] = resolved(schema)
    return result
