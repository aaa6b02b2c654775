"""Base classes of pydantic models whose JSON Schema has the docstrings below fields as descriptions.

Pydantic can read these docstrings, but does so when a class is created, from the source file, which takes 0.1 s at each
start. Schemas are seldom printed, so here the docstrings are read only for that.
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
    """An immutable model that rejects unknown keys. Its validator is built at the first use."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> dict[str, Any]:
        json_schema = handler(schema)
        properties = handler.resolve_ref_schema(json_schema).get("properties", {})
        for name, text in _docstrings(cls).items():
            key = cls.model_fields[name].alias or name
            if key in properties:
                properties[key]["description"] = text
        return json_schema


class Record(Documented):
    """A structure of a contract: a document that portalis exchanges with other agents."""


AbsolutePath = Annotated[str, Field(pattern=r"^/")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
DateTime = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="UTC, ISO 8601")]
FloatSeconds = Annotated[float, Field(ge=0, description="seconds")]


@functools.cache
def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings of the fields of `model`, inherited ones included, by field name."""
    docstrings: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, Documented) and base is not Documented:
            docstrings.update(_field_docstrings(base))
    return {name: text for name, text in docstrings.items() if name in model.model_fields}


def _field_docstrings(model: type) -> dict[str, str]:
    definition = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(definition, ast.ClassDef)
    docstrings = {}
    for field, below in zip(definition.body, definition.body[1:]):
        is_text = (
            isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
        )
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            assert isinstance(below, ast.Expr)
            assert isinstance(below.value, ast.Constant)
            docstrings[field.target.id] = inspect.cleandoc(str(below.value.value))
    return docstrings
