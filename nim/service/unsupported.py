"""Features of other servers' HTTP endpoints that this service lacks: each is refused with a reason, not a bare
404."""

from __future__ import annotations

import re
from typing import Final

from .request_errors import RequestError, not_found, not_supported

_RDMA = "this service does not support shared memory over RDMA; system shared memory is available"
_REPOSITORY = "'repository_name' specification is not supported"
_GENERATE = "this service does not support the generate extension; use /v2/models/{name}/infer"
_KSERVE_V1 = (
    "this service does not support the first version of KServe's protocol; use /v2/models/{name}/infer, or "
    "/v1/models/{name}/infer"
)
_PATHS: Final = (
    (re.compile("/v1/models/.+:(predict|explain)"), _KSERVE_V1),
    (re.compile("/v2/rdmasharedmemory(/.*)?"), _RDMA),
    (re.compile("/v2/repository/[^/]+/(index|models/.+/(un)?load)"), _REPOSITORY),
    (re.compile("/v2/models/.+/generate(_stream)?"), _GENERATE),
)


def unknown_path(path: str) -> RequestError:
    """The error for a `path` without a route."""
    reason = next((reason for pattern, reason in _PATHS if pattern.fullmatch(path)), None)
    if reason is not None:
        return not_supported(reason)
    return not_found(f"no route for path {path[:128]!r}; /openapi.json lists all paths")
