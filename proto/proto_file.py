"""The .proto file of a package: a message for the inputs and one for the outputs of each model, as typed tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..templates import render
from .api_models import ApiModel, ApiTensor
from .identifiers import identifier, identifiers, type_names

TEMPLATES = Path(__file__).parent / "templates"
SHARED = ("open_inference.proto", "portalis_tensors.proto")
_MOST_FIELDS = 18_000  # protoc keeps the numbers from 19000 on for itself
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
    """One tensor, with its type and name in the file."""

    name: str
    type: str
    tensor: ApiTensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """The inputs or the outputs of a model."""

    name: str
    side: str
    description: tuple[str, ...]
    model: ApiModel
    fields: tuple[Field, ...]


def file_name(package: str) -> str:
    """What the package's own file is called."""
    return f"{identifier(package)}_models.proto"


def proto_package(package: str) -> str:
    """The package that the messages are in."""
    return f"portalis.models.{identifier(package)}"


def models_proto(package: str, models: Iterable[ApiModel]) -> str:
    """The text of the file. Raises ValueError for a model with more tensors than a message can have fields."""
    return render(
        TEMPLATES, "models.proto.j2", (literal,), package=proto_package(package), messages=tuple(messages(models))
    )


def messages(models: Iterable[ApiModel]) -> Iterator[Message]:
    """The messages, two for each model."""
    models = tuple(models)
    kinds = type_names(model.name for model in models)
    for model in models:
        for side, tensors in (("inputs", model.inputs), ("outputs", model.outputs)):
            if len(tensors) > _MOST_FIELDS:
                raise ValueError(
                    f"model {model.name!r} has {len(tensors)} {side}; a message has at most {_MOST_FIELDS}"
                )
            names = identifiers(tensor.name for tensor in tensors)
            yield Message(
                name=f"{kinds[model.name]}{side.title()}",
                side=side,
                description=tuple(comment_lines(model.description)),
                model=model,
                fields=tuple(Field(name=names[t.name], type=_TYPES[t.datatype], tensor=t) for t in tensors),
            )


def literal(text: str) -> str:
    """`text` as a string of the language; what cannot be printed is written byte for byte."""
    return '"' + "".join(_character(each) for each in text) + '"'


def comment_lines(text: str) -> Iterator[str]:
    """`text` as lines of a comment: without control characters, which would end it or are refused by protoc."""
    for line in text.splitlines():
        printable = "".join(each if each.isprintable() else " " for each in line).strip()
        if printable:
            yield printable


def _character(each: str) -> str:
    if each in '"\\':
        return f"\\{each}"
    return each if each.isprintable() else "".join(f"\\{byte:03o}" for byte in each.encode())
