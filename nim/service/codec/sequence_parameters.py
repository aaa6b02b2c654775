"""The parameters of a request that place it in a sequence, over HTTP and gRPC. Errors are those of Triton."""

from __future__ import annotations

from typing import Any

from ..request_errors import input_error
from ..runtime_api import describe_json_value
from ..sequence_step import NO_SEQUENCE, SequenceStep
from .inference_schema import RequestParameters

MAX_ID_BYTES = 128
"""Maximum size of a text as correlation id, that of Triton's control input."""
_ID, _START, _END = "sequence_id", "sequence_start", "sequence_end"


def sequence_step(parameters: RequestParameters) -> SequenceStep:
    """The step that the JSON parameters of a request declare. Raises RequestError with status 400."""
    if parameters.model_fields_set.isdisjoint((_ID, _START, _END)):
        return NO_SEQUENCE
    return SequenceStep(
        _json_id(parameters.sequence_id),
        _json_flag(_START, parameters.sequence_start),
        _json_flag(_END, parameters.sequence_end),
    )


def message_sequence_step(parameters: Any) -> SequenceStep:
    """The step that `parameters`, those of a ModelInferRequest, declare. Raises RequestError with status 400."""
    identity: int | str = 0
    if _ID in parameters:
        value = parameters[_ID]
        kind = value.WhichOneof("parameter_choice")
        if kind not in ("int64_param", "string_param"):
            text = f"invalid value type for '{_ID}' parameter, expected int64_param or string_param."
            raise input_error(text)
        # the field has a sign, but a correlation id has none
        identity = value.int64_param % (1 << 64) if kind == "int64_param" else _text_id(value.string_param)
    elif _START not in parameters and _END not in parameters:
        return NO_SEQUENCE
    return SequenceStep(identity, _message_flag(parameters, _START), _message_flag(parameters, _END))


def _json_id(value: Any) -> int | str:
    if isinstance(value, str):
        return _text_id(value)
    if type(value) is not int or not 0 <= value < 1 << 64:
        text = f"Unable to parse '{_ID}': attempt to access JSON non-string as string"
        raise input_error(f"{text}. It is {describe_json_value(value)}")
    return value


def _text_id(value: str) -> str:
    """The id up to its first NUL, where Triton ends it too."""
    if len(value.encode(errors="surrogatepass")) > MAX_ID_BYTES:
        raise input_error(f"{_ID} is a text of more than {MAX_ID_BYTES} bytes")
    return value.partition("\0")[0]


def _json_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        text = f"Unable to parse '{name}': attempt to access JSON non-boolean as boolean"
        raise input_error(f"{text}. It is {describe_json_value(value)}")
    return value


def _message_flag(parameters: Any, name: str) -> bool:
    if name not in parameters:
        return False
    value = parameters[name]
    if value.WhichOneof("parameter_choice") != "bool_param":
        raise input_error(f"invalid value type for '{name}' parameter, expected bool_param.")
    return bool(value.bool_param)
