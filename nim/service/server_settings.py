"""The log and trace settings of Triton's protocol: clients can read them; requests that change them are refused."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, Final

from .request_errors import input_error, not_supported

TRACE_SETTINGS: Final[dict[str, Any]] = {
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "triton",
}
"""The service has no traces: these are Triton's settings without any."""


def log_settings() -> dict[str, Any]:
    """The settings of the log, which goes to standard error, from the level of the root logger."""
    level = logging.getLogger().getEffectiveLevel()
    return {
        "log_file": "",
        "log_info": level <= logging.INFO,
        "log_warning": level <= logging.WARNING,
        "log_error": level <= logging.ERROR,
        "log_verbose_level": 0 if level > logging.DEBUG else 1 if level == logging.DEBUG else 2,
        "log_format": "ISO8601",
    }


def refuse_log_changes(requested: Mapping[str, Any]) -> None:
    """Raise RequestError with status 501 if `requested` contains another value than the log has. None stands for no
    change."""
    reason = "the log is configured at startup: NIM_LOG_LEVEL, or portalis run --log-level"
    _refuse_changes(requested, log_settings(), "log", reason)


def refuse_trace_changes(requested: Mapping[str, Any]) -> None:
    """Raise RequestError with status 501 if `requested` contains another value than `TRACE_SETTINGS`. None stands for
    the default."""
    reason = "this service does not support traces; its log and its metrics cover all requests"
    _refuse_changes(requested, TRACE_SETTINGS, "trace", reason)


def check_traced(models: Collection[str], name: str) -> None:
    """Raise RequestError with status 400 if no model is called `name`."""
    if name not in models:
        raise input_error(f"Request for unknown model : {name[:128]}; the models are {', '.join(models)}")


def _refuse_changes(requested: Mapping[str, Any], current: Mapping[str, Any], kind: str, reason: str) -> None:
    for key, value in requested.items():
        known = key in current and type(value) is type(current[key]) and value == current[key]
        if value is not None and not known:
            file = f"{kind} file location can not be updated through network protocol"
            first = file if key == f"{kind}_file" else f"{kind} settings can not be updated"
            raise not_supported(f"{first}; {reason} ({key[:128]!r})")
