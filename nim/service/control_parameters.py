"""The parameters of requests to load and unload models, as Triton's model repository extension defines them."""

from __future__ import annotations

from typing import Any

from .codec import parse_json
from .control_request import ControlRequest
from .request_errors import INTERNAL, RequestError, input_error, not_supported
from .runtime_api import describe_json_value

_MAX_BATCH_SIZE = 2**31 - 1
_FIXED = {"backend": "wasm", "platform": ""}


def parse_load(name: str, parameters: Any) -> ControlRequest:
    """The request to load the model `name` with `parameters`, an object or None. Raises RequestError."""
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        got = describe_json_value(parameters)
        raise input_error(f"attempt to get members for non-object; parameters: expected an object, got {got}")
    size = None
    for key, value in parameters.items():
        if not isinstance(value, str):
            got = describe_json_value(value)
            raise input_error(f"attempt to access JSON non-string as string; {key[:128]}: expected text, got {got}")
        if key.startswith("file:"):
            text = "the service loads the files in the directory of service.json; replace a file there"
            raise not_supported(f"{_not_polled(name)}; {text}")
        if key != "config":
            text = "unexpected error on creating Triton parameter"
            raise RequestError(500, INTERNAL, f"{text}; the parameters are config and file:, not {key[:128]!r}")
        size = _batch_size(name, value)
    return ControlRequest(action="load", name=name, max_batch_size=size)


def parse_unload(name: str, parameters: Any) -> ControlRequest:
    """The request to unload the model `name` with `parameters`. Raises RequestError."""
    dependents = parameters.get("unload_dependents", False) if isinstance(parameters, dict) else False
    if not isinstance(dependents, bool):
        got = describe_json_value(dependents)
        text = "Unable to parse 'unload_dependents': attempt to access JSON non-boolean as boolean"
        raise input_error(f"{text}; expected true or false, got {got}")
    return ControlRequest(action="unload", name=name, unload_dependents=dependents)


def check_repository_name(name: str) -> None:
    """Raise RequestError if a request names a repository: the service has one without a name."""
    if name:
        raise not_supported("'repository_name' specification is not supported")


def check_load_parameter(name: str, field: str | None) -> None:
    """Raise RequestError unless `field` of the message is that of the parameter `name`."""
    expected = {"config": "string_param"}.get(name, "bytes_param" if name.startswith("file:") else "")
    if not expected:
        raise input_error(f"unrecognized load parameter '{name[:128]}'.")
    if field != expected:
        raise input_error(f"invalid value type for load parameter '{name[:128]}', expected {expected}.")


def check_unload_parameter(name: str, field: str | None) -> None:
    """Raise RequestError unless `field` of the message is that of the parameter `name`. Unknown ones are ignored."""
    if name == "unload_dependents" and field != "bool_param":
        raise input_error("invalid value type for 'unload_dependents' parameter, expected bool_param.")


def _batch_size(name: str, text: str) -> int | None:
    """The batch size in `text`, the JSON of a ModelConfig for the model `name`; None if it has none. Raises
    RequestError for fields that cannot be replaced."""
    failed = _not_polled(name)
    try:
        config = parse_json(text.encode(errors="replace"))
    except RequestError as error:
        raise RequestError(500, INTERNAL, f"{failed}; config: {error.message}") from None
    if not isinstance(config, dict):
        got = describe_json_value(config)
        raise RequestError(500, INTERNAL, f"{failed}; config: expected an object, got {got}")
    for key, value in config.items():
        if key != "max_batch_size" and value != {**_FIXED, "name": name}.get(key):
            raise not_supported(f"{failed}; config: only max_batch_size can be replaced, not {key[:128]!r}")
    size = config.get("max_batch_size")
    if isinstance(size, str) and size.isascii() and size.isdigit():
        size = int(size[:11])  # as in the JSON form of protobuf
    if size is None or (type(size) is int and 0 <= size <= _MAX_BATCH_SIZE):
        return size
    got = describe_json_value(size)
    raise RequestError(500, INTERNAL, f"{failed}; config: max_batch_size: expected a number of at least 0, got {got}")


def _not_polled(name: str) -> str:
    return f"failed to load '{name[:128]}', failed to poll from model repository"
