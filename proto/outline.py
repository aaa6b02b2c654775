"""Summarizes an OpenAPI document for the report (requirements 2.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..contracts.documents import (
    Components,
    HttpMethod,
    JsonSchema,
    MediaTypeObject,
    OpenApiSpec,
    Operation,
    Parameter,
    ParameterLocation,
    PathItem,
    RequestBody,
    Response,
    ServerConfig,
)

_REF = "#/components/schemas/"
_MAX_DEPTH = 3  # levels of nested properties: enough for a tensor of a request


def outline(document: Mapping[str, Any]) -> OpenApiSpec:
    """The parts of the document that the report has fields for."""
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    return OpenApiSpec(
        version=document["openapi"],
        title=document["info"]["title"],
        description=document["info"]["description"],
        servers=tuple(ServerConfig(url=each["url"], description=each["description"]) for each in document["servers"]),
        paths={
            path: PathItem(path=path, methods={HttpMethod(m.upper()): _operation(o, schemas) for m, o in item.items()})
            for path, item in document["paths"].items()
        },
        components=Components(schemas={name: _schema(each, schemas) for name, each in schemas.items()}),
    )


def _operation(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Operation:
    body = operation.get("requestBody")
    return Operation(
        summary=operation.get("summary", ""),
        description=operation.get("description", ""),
        parameters=tuple(
            Parameter(
                name=each["name"],
                location=ParameterLocation(each["in"]),
                description=each.get("description", ""),
                required=each.get("required", False),
                schema=_schema(each["schema"], schemas),
            )
            for each in operation.get("parameters", ())
        ),
        request_body=None
        if body is None
        else RequestBody(
            description=body.get("description", ""),
            content=_content(body["content"], schemas),
            required=body.get("required", False),
        ),
        responses={
            status: Response(description=each["description"], content=_content(each.get("content", {}), schemas))
            for status, each in operation["responses"].items()
        },
    )


def _content(content: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, MediaTypeObject]:
    return {
        kind: MediaTypeObject(
            schema=_schema(each.get("schema", {}), schemas),
            examples={"request": each["example"]} if "example" in each else {},
        )
        for kind, each in content.items()
    }


def _schema(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int = _MAX_DEPTH) -> JsonSchema:
    if "$ref" in schema:
        return _schema(schemas[schema["$ref"].removeprefix(_REF)], schemas, depth)
    inner = schema.get("properties", {}) if depth else {}
    return JsonSchema(
        schema_type=schema.get("type", "any"),
        properties={name: _schema(each, schemas, depth - 1) for name, each in inner.items()},
        required=tuple(schema.get("required", ())),
        description=schema.get("description"),
    )
