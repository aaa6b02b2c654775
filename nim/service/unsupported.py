"""Features of other servers' HTTP and gRPC endpoints that this service lacks: each is refused with a reason, not a bare
404."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .request_errors import RequestError, not_found, not_supported

_RDMA = "this service does not support shared memory over RDMA; system shared memory is available"
_CONTROL = "this service loads the models of its service.json at startup, and neither loads nor unloads others"
_REPOSITORY = "'repository_name' specification is not supported"
_GENERATE = "this service does not support the generate extension; use /v2/models/{name}/infer"
_KSERVE_V1 = (
    "this service does not support the first version of KServe's protocol; use /v2/models/{name}/infer, or "
    "/v1/models/{name}/infer"
)
_PATHS: Final = (
    (re.compile("/v1/models/.+:(predict|explain)"), _KSERVE_V1),
    (re.compile("/v2/rdmasharedmemory(/.*)?"), _RDMA),
    (re.compile("/v2/repository/models/.+/(un)?load"), _CONTROL),
    (re.compile("/v2/repository/[^/]+/(index|models/.+/(un)?load)"), _REPOSITORY),
    (re.compile("/v2/models/.+/generate(_stream)?"), _GENERATE),
)
UNSUPPORTED_METHODS: Final = dict.fromkeys(("RepositoryModelLoad", "RepositoryModelUnload"), _CONTROL)
"""Unsupported methods of gRPC, and the reason of each."""


def unknown_path(path: str) -> RequestError:
    """The error for a `path` without a route."""
    reason = next((reason for pattern, reason in _PATHS if pattern.fullmatch(path)), None)
    if reason is not None:
        return not_supported(reason)
    return not_found(f"no route for path {path[:128]!r}; /openapi.json lists all paths")


def refuse_method(reason: str) -> Callable[[Any, Any], Awaitable[Any]]:
    """The implementation of an unsupported method of gRPC."""

    async def refuse(_request: Any, _context: Any) -> Any:
        raise not_supported(reason)

    return refuse
