"""The access log of HTTP and gRPC: one line for each request."""

from __future__ import annotations

import functools
import json
import logging
import os
import time

from .line_handler import LineHandler
from .logs import ACCESS_LOG, REQUEST_ID, JsonLines, timestamp

_ID, _DURATION = os.urandom(16).hex(), os.urandom(16).hex()  # stand for values, in lines that are kept
_MAX_KEPT = 256


def log_request(
    method: str, path: str, status: int | str, seconds: float, model: str | None = None, level: int = logging.INFO
) -> None:
    """Write the line of a request that took `seconds`. `status` is 0 if the client disconnected before the response."""
    if not ACCESS_LOG.isEnabledFor(level):
        return
    duration_ms, identity = round(seconds * 1e3, 3), REQUEST_ID.get()
    if model and identity and status in (200, "OK"):  # then the rest of the line is often the same
        handlers = logging.getLogger().handlers
        handler = handlers[0] if len(handlers) == 1 else None
        if isinstance(handler, LineHandler) and isinstance(handler.formatter, JsonLines):
            start, middle, end = _line_parts(handler.formatter, level, method, path, status, model)
            quoted = identity if identity.isascii() and identity.isalnum() else json.dumps(identity)[1:-1]
            handler.add_line(f'{{"timestamp":"{timestamp(time.time())}{start}{quoted}{middle}{duration_ms}{end}')
            return
    ACCESS_LOG.handle(_record(level, method, path, status, duration_ms, model))


def _record(
    level: int, method: str, path: str, status: int | str, duration_ms: float | str, model: str | None
) -> logging.LogRecord:
    # no logger method: finding the caller's file and line would take as long as everything else here
    record = logging.LogRecord(ACCESS_LOG.name, level, "", 0, "%s %s %s", (method, path, status), None)
    fields = {"method": method, "path": path, "status": status, "duration_ms": duration_ms}
    record.fields = fields | ({"model": model} if model else {})
    return record


@functools.lru_cache(maxsize=_MAX_KEPT)
def _line_parts(
    formatter: JsonLines, level: int, method: str, path: str, status: int | str, model: str
) -> tuple[str, str, str]:
    """The parts of a line between the timestamp, the request id and the duration, and after them."""
    token = REQUEST_ID.set(_ID)
    try:
        record = _record(level, method, path, status, _DURATION, model)
        line = formatter.format(record)
    finally:
        REQUEST_ID.reset(token)
    line = line.removeprefix(f'{{"timestamp":"{timestamp(record.created)}')
    start, rest = line.split(_ID)
    middle, end = rest.split(f'"{_DURATION}"')
    return start, middle, f"{end}\n"
