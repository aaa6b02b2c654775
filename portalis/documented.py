"""Models whose fields are described by the text below them, as in any class here; JSON Schemas carry it.

Pydantic can read those texts, but does so when a class is made, from its source, which costs a tenth of a second at
each start for schemas that are seldom printed. Here they are read when a schema is printed.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema


class Documented(BaseModel):
    """Immutable, without other keys than its own. Validators are built when they are first needed."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> dict[str, Any]:
        made = handler(schema)
        properties = handler.resolve_ref_schema(made).get("properties", {})
        for name, text in _texts(cls).items():
            key = cls.model_fields[name].alias or name
            if key in properties:
                properties[key]["description"] = text
        return made


class Record(Documented):
    """A structure of a contract: a document that portalis exchanges with other agents."""


AbsolutePath = Annotated[str, Field(pattern=r"^/")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
DateTime = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="UTC, ISO 8601")]
FloatSeconds = Annotated[float, Field(ge=0, description="seconds")]


@functools.cache
def _texts(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field of `model` and its bases, by the field's name."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, Documented) and base is not Documented:
            found.update(_below_fields(base))
    return {name: text for name, text in found.items() if name in model.model_fields}


def _below_fields(model: type) -> dict[str, str]:
    definition = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in zip(definition.body, definition.body[1:]):
        is_text = (
            isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
        )
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            assert isinstance(below, ast.Expr)
            assert isinstance(below.value, ast.Constant)
            found[field.target.id] = inspect.cleandoc(str(below.value.value))
    return found
