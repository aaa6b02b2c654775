"""JSON schemas in which definitions stand where they are used."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def inline_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of `model` without references: the framework would resolve them among its own schemas only."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolve(value: Any) -> Any:
        if isinstance(value, list):
            return [resolve(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            siblings = {key: each for key, each in value.items() if key != "$ref"}
            return resolve({**definitions[value["$ref"].removeprefix("#/$defs/")], **siblings})
        return {key: resolve(each) for key, each in value.items()}

    resolved: dict[str, Any] = resolve(schema)
    return resolved
