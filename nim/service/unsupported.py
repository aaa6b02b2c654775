"""Features of Triton's front ends that this service lacks: each is refused with a sentence instead of a bare 404."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .request_errors import RequestError, not_found, not_supported

_MEMORY = "this service has no shared memory; send tensors in requests"
_CONTROL = "this service loads the models of its service.json when it starts, and neither loads nor unloads others"
_TRACE = "this service has no traces; requests are in its log and its metrics"
_LOGGING = "this service's log is set when it starts: NIM_LOG_LEVEL, or portalis run --log-level"
_GENERATE = "this service has no generate extension; use /v2/models/{name}/infer"
_PATHS: Final = (
    (re.compile("/v2/(system|cuda|rdma)sharedmemory(/.*)?"), _MEMORY),
    (re.compile("/v2/repository/.+"), _CONTROL),
    (re.compile("/v2/(models/.+/)?trace/setting"), _TRACE),
    (re.compile("/v2/logging"), _LOGGING),
    (re.compile("/v2/models/.+/generate(_stream)?"), _GENERATE),
)
UNSUPPORTED_METHODS: Final = {
    **{
        f"{kind}SharedMemory{what}": _MEMORY
        for kind in ("System", "Cuda")
        for what in ("Status", "Register", "Unregister")
    },
    **dict.fromkeys(("RepositoryModelLoad", "RepositoryModelUnload"), _CONTROL),
    "TraceSetting": _TRACE,
    "LogSettings": _LOGGING,
}
"""Methods of gRPC and why each is refused."""


def unknown_path(path: str) -> RequestError:
    """The problem of a `path` that no route has."""
    text = next((text for pattern, text in _PATHS if pattern.fullmatch(path)), None)
    if text is not None:
        return not_supported(text)
    return not_found(f"no route for path {path[:128]!r}; /openapi.json lists all paths")


def refuse_method(text: str) -> Callable[[Any, Any], Awaitable[Any]]:
    """What a method of gRPC does that is refused with `text`."""

    async def refuse(_request: Any, _context: Any) -> Any:
        raise not_supported(text)

    return refuse
