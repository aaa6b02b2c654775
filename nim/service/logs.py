"""Logging of the service: JSON lines or text, with the request id of the current context.

A record is always a single line, so that neither a guest nor a client can forge one. (A traceback in text form adds
indented lines.)
"""

from __future__ import annotations

import functools
import json
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TextIO

from .line_handler import LineHandler

LEVEL_VARIABLE, FORM_VARIABLE = "NIM_LOG_LEVEL", "NIM_JSONL_LOGGING"
TRACE = 5  # uvicorn's level below DEBUG: the events of each connection
LEVELS = {
    "TRACE": TRACE,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "DEFAULT": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}
_IDS = random.Random()  # noqa: S311  # ids have to differ, and need not be secret
_SWITCH = {"1": True, "true": True, "0": False, "false": False}

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that the current context handles; "" outside of requests."""
ACCESS_LOG = logging.getLogger("portalis.access")
"""The logger of requests over HTTP and gRPC."""
MAX_REQUEST_ID = 128
"""Maximum length of a request id, in characters."""


def request_id(received: bytes | str) -> str:
    """The id of a request: the id that the client sent, reduced to printable ASCII and at most `MAX_REQUEST_ID`
    characters; a new id if nothing remains."""
    text = received.decode("latin-1") if isinstance(received, bytes) else received
    if not (text.isascii() and text.isprintable()):
        text = "".join(char for char in text if " " <= char <= "~")
    return text[:MAX_REQUEST_ID].strip() or f"{_IDS.getrandbits(128):032x}"


@dataclass(frozen=True)
class LogOptions:
    """The minimum level (of `logging`), whether records are written as JSON lines, and the process."""

    level: int = logging.INFO
    json_lines: bool = True
    worker: int = 0
    """The number of the worker process, which each record has; 0 in a service with a single process."""


def log_options(environment: Mapping[str, str], *, terminal: bool = False) -> LogOptions:
    """The options that the environment sets. The default is JSON lines, and text on a terminal.

    Raises ValueError, which names the variable, for an invalid value.
    """
    level = environment.get(LEVEL_VARIABLE, "").strip().upper() or "DEFAULT"
    if level not in LEVELS:
        raise ValueError(f"{LEVEL_VARIABLE} must be one of {', '.join(LEVELS)}, not {level[:40]!r}")
    form = environment.get(FORM_VARIABLE, "").strip().lower()
    if form and form not in _SWITCH:
        raise ValueError(f"{FORM_VARIABLE} must be 1 (JSON lines) or 0 (text), not {form[:40]!r}")
    return LogOptions(LEVELS[level], _SWITCH[form] if form else not terminal)


def configure_logging(options: LogOptions, stream: TextIO | None = None) -> None:
    """Write every record of this process to `stream` (default: standard error) as `options` specify.

    The records of uvicorn and grpc, Python's warnings and uncaught exceptions are included.
    """
    logging.addLevelName(TRACE, "TRACE")
    handler = LineHandler(stream or sys.stderr)
    handler.setFormatter((JsonLines if options.json_lines else TextLines)(options.worker))
    logging.basicConfig(level=options.level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # grpc's C core writes to standard error directly; its important messages are logged in Python too
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


class JsonLines(logging.Formatter):
    """One JSON object per line: timestamp (RFC 3339, UTC), level, logger, message, then additional fields."""

    def __init__(self, worker: int = 0) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """The line. All characters except printable ASCII are escaped, including line breaks of every kind."""
        document: dict[str, Any] = {
            "timestamp": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._worker:
            document["worker"] = self._worker
        identity = REQUEST_ID.get()
        if identity:
            document["request_id"] = identity
        fields = record.__dict__.get("fields")
        if fields:
            document.update(fields)
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return _ENCODE(document)


class TextLines(logging.Formatter):
    """Human-readable lines: time, level, logger, message, then additional fields as ``key=value``."""

    def __init__(self, worker: int = 0) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """The line, followed by the indented lines of a traceback."""
        fields = dict(record.__dict__.get("fields") or {})
        identity = REQUEST_ID.get()
        if identity:
            fields["request_id"] = identity
        if self._worker:
            fields["worker"] = self._worker
        suffix = "".join(f" {key}={value}" for key, value in fields.items())
        line = f"{timestamp(record.created)} {record.levelname} {record.name}: {record.getMessage()}{suffix}"
        lines = [escape_control(line)]
        if record.exc_info:
            lines += [f"    {escape_control(line)}" for line in self.formatException(record.exc_info).split("\n")]
        return "\n".join(lines)


_ENCODE = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=str).encode


def timestamp(seconds: float) -> str:
    """A time in seconds since 1970 as RFC 3339, in UTC and with milliseconds."""
    whole = int(seconds)
    return f"{_whole_seconds(whole)}.{int((seconds - whole) * 1000):03d}Z"


@functools.lru_cache(maxsize=2)
def _whole_seconds(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def escape_control(text: str) -> str:
    """`text` as a single line: characters that do not print are written as Python's escapes.

    A copy of the function in the core: logging is configured before the runtime (wasmtime, NumPy) is imported.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(__name__).critical("internal error", exc_info=(kind, error, trace))


def _uncaught_in_thread(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None:
        _uncaught(hook.exc_type, hook.exc_value, hook.exc_traceback)
