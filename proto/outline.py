"""The outline of an OpenAPI document, as the report has it (requirements 2.6)."""

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
_DEPTH = 3  # of properties in properties: enough for a tensor of a request


def outline(document: Mapping[str, Any]) -> OpenApiSpec:
    """Everything of the document that the report has a field for."""
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


def _operation(found: Mapping[str, Any], schemas: Mapping[str, Any]) -> Operation:
    body = found.get("requestBody")
    return Operation(
        summary=found.get("summary", ""),
        description=found.get("description", ""),
        parameters=tuple(
            Parameter(
                name=each["name"],
                location=ParameterLocation(each["in"]),
                description=each.get("description", ""),
                required=each.get("required", False),
                schema=_schema(each["schema"], schemas),
            )
            for each in found.get("parameters", ())
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
            for status, each in found["responses"].items()
        },
    )


def _content(found: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, MediaTypeObject]:
    return {
        kind: MediaTypeObject(
            schema=_schema(each.get("schema", {}), schemas),
            examples={"request": each["example"]} if "example" in each else {},
        )
        for kind, each in found.items()
    }


def _schema(found: Mapping[str, Any], schemas: Mapping[str, Any], depth: int = _DEPTH) -> JsonSchema:
    if "$ref" in found:
        return _schema(schemas[found["$ref"].removeprefix(_REF)], schemas, depth)
    inner = found.get("properties", {}) if depth else {}
    return JsonSchema(
        schema_type=found.get("type", "any"),
        properties={name: _schema(each, schemas, depth - 1) for name, each in inner.items()},
        required=tuple(found.get("required", ())),
        description=found.get("description"),
    )
