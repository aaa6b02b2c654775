"""The log and trace settings over HTTP, as Triton's extensions define them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from ..codec import parse_json
from ..request_errors import input_error
from ..server_settings import TRACE_SETTINGS, check_traced, log_settings, refuse_log_changes, refuse_trace_changes
from ..service import Service
from .body import read_small_body
from .management_schema import V2_TAG, v2_errors

_ERRORS = v2_errors(
    {
        400: "the request is invalid",
        408: "the body was not complete in time",
        413: "the body is too large",
        501: "the request changes a setting",
    }
)
_PARAMETERS = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string", "title": "Name"}}]


def settings_router(service: Service) -> APIRouter:
    """The routes of the settings: GET returns them, and POST too, unless it changes one."""
    routes = APIRouter(prefix="/v2", tags=[V2_TAG])

    async def log(request: Request) -> dict[str, Any]:
        """The settings of the log."""
        if request.method == "POST":
            refuse_log_changes(await _read_object(service, request))
        return log_settings()

    async def trace(request: Request) -> dict[str, Any]:
        """The settings of traces, which the service does not support."""
        name = request.path_params.get("name")
        if name is not None:
            check_traced(service.models, name)
        if request.method == "POST":
            refuse_trace_changes(await _read_object(service, request))
        return TRACE_SETTINGS

    for path, endpoint in (("/logging", log), ("/trace/setting", trace), ("/models/{name}/trace/setting", trace)):
        name = endpoint.__name__ + "_settings" + "_of_model" * ("{name}" in path)
        extra = {"parameters": _PARAMETERS} if "{name}" in path else {}
        # one route serves both methods, so that responses to others name both; those for each method are described
        routes.add_api_route(path, endpoint, methods=["GET", "POST"], include_in_schema=False)
        for method in ("GET", "POST"):
            routes.add_api_route(
                path,
                endpoint,
                methods=[method],
                name=name if method == "GET" else f"update_{name}",
                responses=_ERRORS,
                openapi_extra=extra,
            )
    return routes


async def _read_object(service: Service, request: Request) -> dict[str, Any]:
    document = parse_json(await read_small_body(service, request))
    if not isinstance(document, dict):
        raise input_error("the settings: expected an object")
    return document
