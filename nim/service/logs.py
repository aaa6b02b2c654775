"""Log lines: JSON or readable text, each with the id of the request that it belongs to. A record is one line whatever a
guest or a client wrote: neither can forge a line of the log.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TextIO

LEVEL_VARIABLE, FORM_VARIABLE = "NIM_LOG_LEVEL", "NIM_JSONL_LOGGING"
TRACE = 5  # uvicorn's own, below DEBUG: what happens on each connection
LEVELS = {
    "TRACE": TRACE,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "DEFAULT": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}
_SWITCH = {"1": True, "true": True, "0": False, "false": False}

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that this context works for, "" outside of any."""
MAX_REQUEST_ID = 128
"""Maximum length of a request id, in characters."""


def request_id(given: bytes | str) -> str:
    """The id of a request: the one that the client has sent, printable ASCII only and cut to 128 characters; a new one
    if nothing is left of it."""
    text = given.decode("latin-1") if isinstance(given, bytes) else given
    if not (text.isascii() and text.isprintable()):
        text = "".join(each for each in text if " " <= each <= "~")
    return text[:MAX_REQUEST_ID].strip() or os.urandom(16).hex()


@dataclass(frozen=True)
class LogOptions:
    """What is logged (a level of `logging`) and how."""

    level: int = logging.INFO
    json_lines: bool = True


def log_options(environment: Mapping[str, str], *, terminal: bool = False) -> LogOptions:
    """What the environment asks for: without a word JSON lines, but text on a terminal. Raises ValueError, naming the
    variable."""
    level = environment.get(LEVEL_VARIABLE, "").strip().upper() or "DEFAULT"
    if level not in LEVELS:
        raise ValueError(f"{LEVEL_VARIABLE} must be one of {', '.join(LEVELS)}, not {level[:40]!r}")
    form = environment.get(FORM_VARIABLE, "").strip().lower()
    if form and form not in _SWITCH:
        raise ValueError(f"{FORM_VARIABLE} must be 1 (JSON lines) or 0 (text), not {form[:40]!r}")
    return LogOptions(LEVELS[level], _SWITCH[form] if form else not terminal)


def set_up(options: LogOptions, stream: TextIO | None = None) -> None:
    """Send every record of this process, those of uvicorn and grpc and Python's own warnings included, to `stream`
    (standard error) as `options` say."""
    logging.addLevelName(TRACE, "TRACE")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if options.json_lines else Text())
    logging.basicConfig(level=options.level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # grpc's C core writes lines of its own to standard error; what matters of it reaches Python as well
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


class JsonLines(logging.Formatter):
    """One JSON object a line: timestamp (RFC 3339, UTC), level, logger, message, then what is known beside."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. Everything that is not printable ASCII is escaped, line breaks of every kind among it."""
        told: dict[str, Any] = {
            "timestamp": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        identity = REQUEST_ID.get()
        if identity:
            told["request_id"] = identity
        fields = record.__dict__.get("fields")
        if fields:
            told.update(fields)
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return _ENCODE(told)


class Text(logging.Formatter):
    """A line for people: time, level, logger, message, then what is known beside as ``key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and a traceback below it, its lines indented."""
        fields = dict(record.__dict__.get("fields") or {})
        identity = REQUEST_ID.get()
        if identity:
            fields["request_id"] = identity
        beside = "".join(f" {key}={value}" for key, value in fields.items())
        head = f"{timestamp(record.created)} {record.levelname} {record.name}: {record.getMessage()}{beside}"
        lines = [visible(head)]
        if record.exc_info:
            lines += [f"    {visible(line)}" for line in self.formatException(record.exc_info).split("\n")]
        return "\n".join(lines)


_ENCODE = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=str).encode


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC, to the millisecond, of a time since 1970."""
    whole = int(seconds)
    return f"{_to_second(whole)}.{int((seconds - whole) * 1000):03d}Z"


@functools.lru_cache(maxsize=2)
def _to_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def visible(text: str) -> str:
    """`text` on one line: what a terminal or a reader of lines would act on is written as Python's escapes."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(__name__).critical("the service failed", exc_info=(kind, error, trace))


def _uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None:
        _uncaught(found.exc_type, found.exc_value, found.exc_traceback)
