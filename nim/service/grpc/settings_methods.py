"""The log and trace settings over gRPC, as Triton's extensions define them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from ..codec.protobuf_messages import pb
from ..server_settings import TRACE_SETTINGS, check_traced, log_settings, refuse_log_changes, refuse_trace_changes


class SettingsMethods:
    """The methods of the settings, for a service with `models`: they return the settings, and change none."""

    def __init__(self, models: Collection[str]) -> None:
        self._models = models

    def by_name(self) -> dict[str, Callable[[Any, Any], Awaitable[Any]]]:
        """The methods by their names in the protocol."""
        return {"LogSettings": self.log_settings, "TraceSetting": self.trace_setting}

    async def log_settings(self, request: Any, _: Any) -> Any:
        """The settings of the log. Raises RequestError with status 501 if `request` changes one."""
        refuse_log_changes({name: _value(setting) for name, setting in request.settings.items()})
        response = pb.LogSettingsResponse()
        for name, value in log_settings().items():
            field = {bool: "bool_param", int: "uint32_param", str: "string_param"}[type(value)]
            setattr(response.settings[name], field, value)
        return response

    async def trace_setting(self, request: Any, _: Any) -> Any:
        """The settings of traces. Raises RequestError with status 501 if `request` changes one."""
        if request.model_name:
            check_traced(self._models, request.model_name)
        refuse_trace_changes({name: _values(name, setting) for name, setting in request.settings.items()})
        response = pb.TraceSettingResponse()
        for name, value in TRACE_SETTINGS.items():
            response.settings[name].value.extend(value if isinstance(value, list) else [value])
        return response


def _value(setting: Any) -> Any:
    """The value of a log setting; None if it has none."""
    field = setting.WhichOneof("parameter_choice")
    return getattr(setting, field) if field else None


def _values(name: str, setting: Any) -> Any:
    """The value of a trace setting, a list only for the levels; None, the default, if it has none."""
    values = list(setting.value)
    return values[0] if len(values) == 1 and name != "trace_level" else values or None
