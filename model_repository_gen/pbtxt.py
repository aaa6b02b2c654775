"""Triton's ``ModelConfig`` message as the text of a ``config.pbtxt``, in protobuf's own text format.

Only this module imports the message class, which tritonclient contains, generated from Triton's own proto file.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from ..bounded import CONFIG_BOUNDS
from ..errors import MissingPart, UsageError
from ..escaping import escape_hidden_protobuf

ModelConfig: TypeAlias = Any  # inference.ModelConfig: generated at import, so not visible to a type checker
Message: TypeAlias = Any  # a message inside it

CONFIG_FILE = "config.pbtxt"
MAX_BYTES = CONFIG_BOUNDS.max_bytes
_ZERO_BATCH = re.compile(r"^max_batch_size: 1$", re.MULTILINE)
_LOCATION = re.compile(r"^\d+:\d+ : ")


@functools.cache
def model_config_schema() -> ModuleType:
    """The generated module with `ModelConfig` and its enums. Raises MissingPart without tritonclient or protobuf."""
    # Loaded from its file: `import tritonclient.grpc…` also starts gRPC with its threads, asyncio and ml_dtypes, and
    # takes 0.26 s instead of 0.11 s. The classes are those of tritonclient, because they come from protobuf's pool, so
    # its client can send the message.
    package = importlib.util.find_spec("tritonclient")
    folders = package.submodule_search_locations if package is not None else None
    file = next((p for f in folders or () if (p := Path(f) / "grpc" / "model_config_pb2.py").is_file()), None)
    if file is None:
        raise MissingPart(
            "tritonclient is not installed (it contains Triton's ModelConfig message)",
            remediation="pip install 'portalis[client]'",
        )
    spec = importlib.util.spec_from_file_location("portalis_model_config_pb2", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise MissingPart(
            f"Triton's ModelConfig message requires protobuf: {error}", remediation="pip install 'portalis[client]'"
        ) from None
    return module


def new_config(**fields: Any) -> ModelConfig:
    """An empty `ModelConfig`, or one with these fields set. Raises ValueError and TypeError as protobuf does."""
    return model_config_schema().ModelConfig(**fields)


def to_text(config: ModelConfig, *, show_zero_batch: bool = True) -> str:
    """`config` as the text of a ``config.pbtxt``, in UTF-8; equal messages result in equal texts.

    ``max_batch_size: 0``, which protobuf omits, is printed to show that the model does not batch. Without
    `show_zero_batch` the text is exactly protobuf's.
    """
    from google.protobuf import text_format

    if config.max_batch_size or not show_zero_batch:
        return escape_hidden_protobuf(text_format.MessageToString(config, as_utf8=True))
    # Only a field of the message itself starts in the first column: strings are escaped and contain no line breaks.
    shown = model_config_schema().ModelConfig()
    shown.CopyFrom(config)
    shown.max_batch_size = 1
    text = escape_hidden_protobuf(text_format.MessageToString(shown, as_utf8=True))
    return _ZERO_BATCH.sub("max_batch_size: 0", text, count=1)


def from_text(text: str, *, source: str = CONFIG_FILE) -> ModelConfig:
    """Parse the message in `text`.

    Raises UsageError with `source` and the line for text that Triton would not parse either: an unknown field or
    value, a duplicate field, two schedulers, a missing bracket.
    """
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, model_config_schema().ModelConfig())
    except text_format.ParseError as error:
        line = error.GetLine()
        location = f"{source}, line {line}" if line is not None else source
        raise UsageError(
            f"{location}: {_LOCATION.sub('', str(error))}",
            remediation="Fix this line: the fields are those of Triton's ModelConfig, in protobuf's text format.",
        ) from None


def read_config(path: str | os.PathLike[str]) -> ModelConfig:
    """The message in a ``config.pbtxt``. Raises UsageError if the file cannot be read or parsed; see `from_text`."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"expected at most {MAX_BYTES} bytes in {path}", remediation="Name a config.pbtxt.")
        text = data.decode()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", remediation="Name a readable file.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: not UTF-8", remediation="Save the file as UTF-8.") from error
    return from_text(text, source=str(path))


def enum_name(message: Message, field: str) -> str:
    """The name of an enum field's value, for example ``TYPE_FP32``; its number if the schema does not define it."""
    number = getattr(message, field)
    value = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(number)
    return str(number) if value is None else str(value.name)


def to_dict(config: ModelConfig) -> dict[str, Any]:
    """`config` as Triton passes it to a backend: the message's own keys, enums by name, 64-bit numbers as text."""
    from google.protobuf import json_format

    fields: dict[str, Any] = json_format.MessageToDict(config, preserving_proto_field_name=True)
    return fields
