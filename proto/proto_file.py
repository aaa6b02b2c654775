"""Generates the .proto file of a package: per model, one message for the inputs and one for the outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..templates import render
from .api_models import ApiModel, ApiTensor
from .identifiers import identifier, proto_identifiers, type_names

_TEMPLATES = Path(__file__).parent / "templates"
_SHARED = ("open_inference.proto", "portalis_tensors.proto")
_MAX_FIELDS = 18_000  # field numbers from 19000 on are reserved for protoc
_TYPES = {
    "BOOL": "BoolTensor",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "Int32Tensor"),
    "INT64": "Int64Tensor",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "Uint32Tensor"),
    "UINT64": "Uint64Tensor",
    "FP32": "FloatTensor",
    "FP64": "DoubleTensor",
    "BYTES": "BytesTensor",
    **dict.fromkeys(("FP16", "BF16"), "HalfTensor"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field for a tensor."""

    name: str
    type: str
    tensor: ApiTensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message with the inputs or the outputs of a model."""

    name: str
    side: str
    """``inputs`` or ``outputs``."""
    description: tuple[str, ...]
    model: ApiModel
    fields: tuple[Field, ...]


def shared_files() -> dict[str, str]:
    """The texts of the files that a package's own file imports, by file name."""
    return {name: (_TEMPLATES / name).read_text(encoding="utf-8") for name in _SHARED}


def file_name(package: str) -> str:
    """The name of the package's own file."""
    return f"{identifier(package)}_models.proto"


def proto_package(package: str) -> str:
    """The Protocol Buffers package of the messages."""
    return f"portalis.models.{identifier(package)}"


def models_proto(package: str, models: Iterable[ApiModel]) -> str:
    """The text of the file. Raises ValueError if a model has more tensors than a message can have fields."""
    return render(
        _TEMPLATES, "models.proto.j2", (literal,), package=proto_package(package), messages=tuple(messages(models))
    )


def messages(models: Iterable[ApiModel]) -> Iterator[Message]:
    """The messages, two per model. Raises ValueError if a model has too many tensors."""
    models = tuple(models)
    types = type_names(model.name for model in models)
    for model in models:
        for side, tensors in (("inputs", model.inputs), ("outputs", model.outputs)):
            if len(tensors) > _MAX_FIELDS:
                raise ValueError(
                    f"model {model.name!r} has {len(tensors)} {side}, but a message can have at most {_MAX_FIELDS}"
                )
            names = proto_identifiers(tensor.name for tensor in tensors)
            yield Message(
                name=f"{types[model.name]}{side.title()}",
                side=side,
                description=tuple(comment_lines(model.description)),
                model=model,
                fields=tuple(Field(name=names[t.name], type=_TYPES[t.datatype], tensor=t) for t in tensors),
            )


def literal(text: str) -> str:
    """`text` as a string literal of Protocol Buffers; characters that do not print are escaped byte by byte."""
    return '"' + "".join(_character(each) for each in text) + '"'


def comment_lines(text: str) -> Iterator[str]:
    """`text` as lines of a comment, without control characters: they could end it, or protoc rejects them."""
    for line in text.splitlines():
        printable = "".join(each if each.isprintable() else " " for each in line).strip()
        if printable:
            yield printable


def _character(each: str) -> str:
    if each in '"\\':
        return f"\\{each}"
    return each if each.isprintable() else "".join(f"\\{byte:03o}" for byte in each.encode())
