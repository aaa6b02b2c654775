"""The shared memory extension over HTTP: registration of regions and their status.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_shared_memory.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from ..codec import parse_json
from ..request_errors import RequestError, input_error
from ..runtime_api import describe_json_value
from ..service import Service
from ..shared_memory import check_cuda_region, refuse_cuda_region
from .body import read_small_body
from .management_schema import V2_TAG, CudaRegion, SystemRegion, V2RegisterRequest, v2_errors

_STATUS_ERRORS = v2_errors({404: "unknown region"})
_REGISTER_ERRORS = v2_errors(
    {
        400: "the request is invalid, or the name is in use",
        404: "unknown path",
        408: "the body was not complete in time",
        413: "the body is too large",
        500: "the shared memory object cannot be opened",
        503: "too many regions are registered",
    }
)
_UNREGISTER_ERRORS = v2_errors({404: "unknown path", 500: "a request uses the region"})


def region_router(service: Service) -> APIRouter:
    """The routes of system and CUDA shared memory."""
    routes = APIRouter(prefix="/v2", tags=[V2_TAG])
    _add_system(routes, service)
    _add_registration(routes, service)
    _add_cuda(routes, service)
    return routes


def _add_system(routes: APIRouter, service: Service) -> None:
    @routes.get("/systemsharedmemory/status")
    async def all_regions() -> list[SystemRegion]:
        """All registered regions."""
        return [SystemRegion(**asdict(each)) for each in service.regions.status()]

    @routes.get("/systemsharedmemory/region/{region}/status", responses=_STATUS_ERRORS)
    async def one_region(region: str) -> list[SystemRegion]:
        """One registered region."""
        return [SystemRegion(**asdict(each)) for each in service.regions.status(region)]

    @routes.post("/systemsharedmemory/unregister", response_class=Response, responses=_UNREGISTER_ERRORS)
    async def unregister_all() -> Response:
        """Unregister all regions."""
        await service.region_changes.unregister_all()
        return _done()

    @routes.post(
        "/systemsharedmemory/region/{region}/unregister", response_class=Response, responses=_UNREGISTER_ERRORS
    )
    async def unregister(region: str) -> Response:
        """Unregister a region, if it is registered."""
        await service.region_changes.unregister(region)
        return _done()


def _add_registration(routes: APIRouter, service: Service) -> None:
    content = {"application/json": {"schema": V2RegisterRequest.model_json_schema()}}

    @routes.post("/systemsharedmemory/register", response_class=Response, responses=v2_errors({400: "always"}))
    async def register_without_name() -> Response:
        """Rejected: the name of a region is part of the path."""
        raise _unnamed("system")

    @routes.post(
        "/systemsharedmemory/region/{region}/register",
        response_class=Response,
        responses=_REGISTER_ERRORS,
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )
    async def register(region: str, request: Request) -> Response:
        """Register a range of a shared memory object of this host as a region."""
        body = await read_small_body(service, request)
        await service.region_changes.register(region, *parse_registration(parse_json(body)))
        return _done()


def _add_cuda(routes: APIRouter, service: Service) -> None:
    @routes.get("/cudasharedmemory/status")
    async def all_cuda_regions() -> list[CudaRegion]:
        """All registered regions of CUDA shared memory: none."""
        return []

    @routes.get("/cudasharedmemory/region/{region}/status", responses=_STATUS_ERRORS)
    async def one_cuda_region(region: str) -> list[CudaRegion]:
        """Rejected: no region of CUDA shared memory can be registered."""
        check_cuda_region(service.regions, region)
        return []

    @routes.post("/cudasharedmemory/register", response_class=Response, responses=v2_errors({400: "always"}))
    async def register_cuda_without_name() -> Response:
        """Rejected: the name of a region is part of the path."""
        raise _unnamed("cuda")

    @routes.post(
        "/cudasharedmemory/region/{region}/register", response_class=Response, responses=v2_errors({400: "always"})
    )
    async def register_cuda(region: str) -> Response:
        """Rejected: the service does not use GPUs."""
        raise refuse_cuda_region(region)

    @routes.post("/cudasharedmemory/unregister", response_class=Response)
    async def unregister_all_cuda() -> Response:
        """Unregister all regions of CUDA shared memory, of which there are none."""
        return _done()

    @routes.post("/cudasharedmemory/region/{region}/unregister", response_class=Response)
    async def unregister_cuda(region: str) -> Response:
        """Unregister a region of CUDA shared memory, if it is registered: it is not."""
        return _done()


def parse_registration(document: Any) -> tuple[str, int, int]:
    """The key, offset and size in the JSON of a registration. Raises RequestError with status 400."""
    fields: Mapping[str, Any] = document if isinstance(document, dict) else {}
    if "key" not in fields:
        raise input_error("Shared memory register request has no 'key' field")
    key = fields["key"]
    if not isinstance(key, str):
        got = describe_json_value(key)
        raise input_error(f"attempt to access JSON non-string as string: key: expected text, got {got}")
    offset = _unsigned(fields, "offset") if "offset" in fields else 0
    if "byte_size" not in fields:
        raise input_error("Shared memory register request has no 'byte_size' field")
    return key, offset, _unsigned(fields, "byte_size")


def _unsigned(fields: Mapping[str, Any], name: str) -> int:
    value = fields[name]
    if type(value) is not int or not 0 <= value < 1 << 64:
        text = f"{name}: expected an integer of at least 0, got {describe_json_value(value)}"
        raise input_error(f"attempt to access JSON non-unsigned-integer as unsigned-integer. {text}")
    return value


def _unnamed(kind: str) -> RequestError:
    return input_error(f"'region name' is necessary to register {kind} shared memory region")


def _done() -> Response:
    return Response(media_type="application/json")
