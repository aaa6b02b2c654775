"""Triton's ``ModelConfig`` as the text of a ``config.pbtxt``: printed and read with protobuf's own text format.

The only module here that knows where the message comes from: tritonclient has it, generated from Triton's own file.
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

ModelConfig: TypeAlias = Any  # inference.ModelConfig: generated at import, so no type checker can see it
Message: TypeAlias = Any  # any message inside it

CONFIG_FILE = "config.pbtxt"
MAX_BYTES = CONFIG_BOUNDS.max_bytes
_ZERO_BATCH = re.compile(r"^max_batch_size: 1$", re.MULTILINE)
_PLACE = re.compile(r"^\d+:\d+ : ")


@functools.cache
def model_config_schema() -> ModuleType:
    """The generated module with `ModelConfig` and its enums. Raises MissingPart without tritonclient or protobuf."""
    # Loaded from its file: `import tritonclient.grpc…` also starts gRPC with its threads, asyncio and ml_dtypes, twice
    # the time (0.26 s against 0.11 s), for a message. protobuf's pool makes the classes the same ones as
    # tritonclient's, so the message can be sent by its client.
    found = importlib.util.find_spec("tritonclient")
    folders = found.submodule_search_locations if found is not None else None
    file = next((p for f in folders or () if (p := Path(f) / "grpc" / "model_config_pb2.py").is_file()), None)
    if file is None:
        raise MissingPart(
            "tritonclient is not installed: it has Triton's ModelConfig message",
            remediation="pip install 'portalis[client]'",
        )
    spec = importlib.util.spec_from_file_location("portalis_model_config_pb2", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as problem:
        raise MissingPart(
            f"Triton's ModelConfig message needs protobuf: {problem}", remediation="pip install 'portalis[client]'"
        ) from None
    return module


def new_config(**fields: Any) -> ModelConfig:
    """An empty `ModelConfig`, or one with these fields set. Raises ValueError and TypeError as protobuf does."""
    return model_config_schema().ModelConfig(**fields)


def to_text(config: ModelConfig, *, show_zero_batch: bool = True) -> str:
    """`config` as the text of a ``config.pbtxt``, in UTF-8; the same message always gives the same text.

    ``max_batch_size: 0`` is printed too: it says that the model does not batch, but protobuf leaves out a zero.
    Without `show_zero_batch` the text is exactly what protobuf prints.
    """
    from google.protobuf import text_format

    if config.max_batch_size or not show_zero_batch:
        return escape_hidden_protobuf(text_format.MessageToString(config, as_utf8=True))
    # Only a field of the message itself starts in the first column: strings are escaped, so no text has a line break.
    shown = model_config_schema().ModelConfig()
    shown.CopyFrom(config)
    shown.max_batch_size = 1
    text = escape_hidden_protobuf(text_format.MessageToString(shown, as_utf8=True))
    return _ZERO_BATCH.sub("max_batch_size: 0", text, count=1)


def from_text(text: str, *, source: str = CONFIG_FILE) -> ModelConfig:
    """The message that `text` says. Raises UsageError with `source` and the line for anything that Triton would not
    read: an unknown field or value, a field given twice, two schedulers, a missing bracket."""
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, model_config_schema().ModelConfig())
    except text_format.ParseError as problem:
        line = problem.GetLine()
        place = f"{source}, line {line}" if line is not None else source
        raise UsageError(
            f"{place}: {_PLACE.sub('', str(problem))}",
            remediation="Fix that line: the fields are those of Triton's ModelConfig, in protobuf's text format.",
        ) from None


def read_config(path: str | os.PathLike[str]) -> ModelConfig:
    """The message in a ``config.pbtxt``. Raises UsageError when it cannot be read; see `from_text`."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"{path} has more than {MAX_BYTES} bytes", remediation="Name a config.pbtxt.")
        text = data.decode()
    except OSError as problem:
        raise UsageError(
            f"cannot read {path}: {problem.strerror}", remediation="Name a file that you may read."
        ) from problem
    except UnicodeDecodeError as problem:
        line = problem.object[: problem.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: it is not UTF-8", remediation="Save the file as UTF-8.") from problem
    return from_text(text, source=str(path))


def enum_name(message: Message, field: str) -> str:
    """The name of an enum field's value, such as ``TYPE_FP32``; its number when the schema does not know it."""
    number = getattr(message, field)
    value = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(number)
    return str(number) if value is None else str(value.name)


def to_dict(config: ModelConfig) -> dict[str, Any]:
    """`config` as Triton hands it to a backend: the message's own keys, enums by name, 64-bit numbers as text."""
    from google.protobuf import json_format

    found: dict[str, Any] = json_format.MessageToDict(config, preserving_proto_field_name=True)
    return found
