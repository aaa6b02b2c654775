"""Parser of the ``wasm.`` parameters in ``config.pbtxt``. An unknown key or an invalid value fails the load."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import SettingsError
from ..interface.interface import Convention
from ..interface.json_data import describe_json_value
from ..limits import Limits
from ..plan.planner import Isolation
from ..program import MAX_THREADS
from .engine_selection import Engine

PREFIX = "wasm."
MAX_BYTES_ELEMENTS = 10**9 - 1
REQUEST_KEY = PREFIX + "timeout_ms"
"""The only key that requests can set, too."""
_MILLISECONDS = "use a number of milliseconds above 0"
_SHOWN = 128
_SIZES = {"": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_INTEGER, _DECIMAL = re.compile(r"^[+-]?\d+$"), re.compile(r"^[+-]?\d*\.?\d+([eE][+-]?\d+)?$")
_SIZE = re.compile(r"^(\d+)\s*([KMG]iB)?$", re.IGNORECASE)


@dataclass(frozen=True)
class ModelParameters:
    """The parsed parameters. ``declared`` are interface keys as in the ``portalis`` section."""

    declared: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    isolation: str = Isolation.BATCH.value
    threads: int = 1
    trusted: bool = False
    engine: Engine = Engine.AUTO


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"use one of {', '.join(choices)}")
        return text

    return parse


def _count(maximum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= maximum:
            raise ValueError(f"use a number from 1 to {maximum}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = 0
    if not 0 < milliseconds < 1e12:
        raise ValueError(_MILLISECONDS)
    return milliseconds / 1000


def _bytes(text: str) -> int:
    match = _SIZE.match(text.strip())
    if not match or not int(match[1]):
        raise ValueError("use a number of bytes above 0, for example 67108864 or 64MiB")
    return int(match[1]) * _SIZES[(match[2] or "").upper()]


def _text(text: str) -> str:
    if not text:
        raise ValueError("it is empty")
    return text


def parse_args(text: str) -> list[str | int | float]:
    """The arguments of a gufunc: names and numbers, separated by commas or as JSON. Raises ValueError."""
    if text.lstrip().startswith("["):
        try:
            found: list[str | int | float] = json.loads(text)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        return found
    return [_number_or_name(part.strip()) for part in text.split(",")]


def _number_or_name(part: str) -> str | int | float:
    if _INTEGER.match(part):
        return int(part)
    if _DECIMAL.match(part):
        return float(part)
    if not part:
        raise ValueError("use names and numbers separated by commas, for example x, y, n")
    return part


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("use true or false")
    return text.lower() == "true"


_DECLARED: dict[str, Callable[[str], Any]] = {
    "entry": _text,
    "convention": _choice(*(c.value for c in Convention)),
    "signature": _text,
    "args": parse_args,
    "returns": _choice("value", "status"),
}
_LIMITS: dict[str, Callable[[str], Any]] = {
    "timeout_ms": _seconds,
    "max_memory_bytes": _bytes,
    "max_module_bytes": _bytes,
    "compile_timeout_ms": _seconds,
    "max_output_bytes": _bytes,
    "max_stdout_bytes": _bytes,
    "max_stack_bytes": _bytes,
    "max_tensor_bytes": _bytes,
    "max_bytes_elements": _count(MAX_BYTES_ELEMENTS),
}
_OTHER: dict[str, Callable[[str], Any]] = {
    "isolation": _choice(*(i.value for i in Isolation)),
    "threads": _count(MAX_THREADS),
    "engine": lambda text: Engine(_choice(*(e.value for e in Engine))(text)),
    "trusted": _switch,
}
_PARSERS = {**_DECLARED, **_LIMITS, **_OTHER}
KEYS = tuple(PREFIX + name for name in _PARSERS)


def parse_parameters(parameters: Mapping[str, Any]) -> ModelParameters:
    """Parse the ``parameters`` of a model configuration (name → ``{"string_value": text}``).

    Keys without the prefix ``wasm.`` are ignored. Raises SettingsError with all problems.
    """
    found: dict[str, Any] = {}
    problems = []
    for key, value in parameters.items():
        if not key.startswith(PREFIX):
            continue
        if key not in KEYS:
            problems.append(_unknown(key))
            continue
        name, text = (
            key[len(PREFIX) :],
            str(value.get("string_value", "")) if isinstance(value, Mapping) else str(value),
        )
        try:
            found[name] = _PARSERS[name](text)
        except ValueError as error:
            problems.append(f"parameter {key} is {text!r}: {error}")
    if problems:
        raise SettingsError("; ".join(problems))
    declared, limits, other = ({n: v for n, v in found.items() if n in of} for of in (_DECLARED, _LIMITS, _OTHER))
    # time limits are in seconds in `Limits`
    return ModelParameters(
        declared, Limits(**{name.replace("_ms", "_s"): value for name, value in limits.items()}), **other
    )


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key, KEYS, 1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"parameter {key} is unknown{hint}; the parameters are {', '.join(KEYS)}"


def parse_request_timeout(parameters_json: str) -> float | None:
    """`request_timeout_s` of parameters in JSON, as Triton passes them."""
    if PREFIX not in parameters_json:
        return None
    try:
        found = json.loads(parameters_json)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SettingsError("the request's parameters are not a JSON object")
    return request_timeout_s(found)


def request_timeout_s(parameters: Mapping[str, Any]) -> float | None:
    """The ``wasm.timeout_ms`` of a request's parameters, in seconds, or None. Raises SettingsError for any other
    ``wasm.`` key, or an invalid value."""
    found = [key for key in parameters if key.startswith(PREFIX)]
    for key in found:
        if key != REQUEST_KEY:
            raise SettingsError(f"request parameter {key[:_SHOWN]} is unknown: a request can set {REQUEST_KEY}")
    if not found:
        return None
    value = parameters[REQUEST_KEY]
    try:
        if type(value) not in (str, int, float):
            raise ValueError(_MILLISECONDS)
        return _seconds(str(value))
    except ValueError:
        raise SettingsError(
            f"request parameter {REQUEST_KEY} is {describe_json_value(value)}: {_MILLISECONDS}"
        ) from None
