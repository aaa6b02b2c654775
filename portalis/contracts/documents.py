"""Documentation of a run (requirements 2.6): API descriptions and guides."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from ..documented import AbsolutePath, Record
from ..spec.base import Choice
from ..spec.package_spec import ApiDocFormat


class HttpMethod(Choice):
    """An HTTP method of a path."""

    GET = "GET"
    POST = "POST"
    PUT = "PUT"
    DELETE = "DELETE"
    PATCH = "PATCH"


class ParameterLocation(Choice):
    """The location of a parameter."""

    Path = "path"
    Query = "query"
    Header = "header"
    Cookie = "cookie"


class _WithSchema(Record):
    """A base with a field ``schema``, which is `schema_` in Python because pydantic reserves the name."""

    model_config = ConfigDict(serialize_by_alias=True)

    schema_: JsonSchema = Field(alias="schema")


class JsonSchema(Record):
    """The outline of a schema; the API document has the complete one."""

    schema_type: str
    properties: dict[str, JsonSchema] = Field(default_factory=dict)
    required: tuple[str, ...] = ()
    description: str | None = None


class MediaTypeObject(_WithSchema):
    """A body in one media type."""

    examples: dict[str, Any] = Field(default_factory=dict)


class Parameter(_WithSchema):
    """A parameter of an operation."""

    name: str
    location: ParameterLocation
    description: str
    required: bool


class RequestBody(Record):
    """The request body of an operation."""

    description: str
    content: dict[str, MediaTypeObject]
    required: bool


class Response(Record):
    """A response of an operation."""

    description: str
    content: dict[str, MediaTypeObject] = Field(default_factory=dict)


class Operation(Record):
    """One method of a path."""

    summary: str
    description: str
    parameters: tuple[Parameter, ...] = ()
    request_body: RequestBody | None = None
    responses: dict[str, Response]
    """The responses by status code."""


class PathItem(Record):
    """A path and its operations."""

    path: str
    methods: dict[HttpMethod, Operation]


class ServerConfig(Record):
    """The address of the service."""

    url: str
    description: str


class Components(Record):
    """Components that several parts of the document reference."""

    schemas: dict[str, JsonSchema] = Field(default_factory=dict)
    responses: dict[str, Response] = Field(default_factory=dict)
    parameters: dict[str, Parameter] = Field(default_factory=dict)


class OpenApiSpec(Record):
    """The outline of an OpenAPI document."""

    version: str
    title: str
    description: str
    servers: tuple[ServerConfig, ...]
    paths: dict[str, PathItem]
    components: Components


class ApiDocumentation(Record):
    """An API document: OpenAPI, or a .proto file and its descriptor set."""

    format: ApiDocFormat
    file_path: AbsolutePath
    openapi_spec: OpenApiSpec | None = None
    grpc_proto: AbsolutePath | None = None
    grpc_descriptor: AbsolutePath | None = None


class DocumentFormat(Choice):
    """The format of a guide."""

    Markdown = "Markdown"
    HTML = "HTML"
    PDF = "PDF"


class IntegrationGuide(Record):
    """A guide for users of the package."""

    title: str
    format: DocumentFormat
    file_path: AbsolutePath
    content_sections: tuple[str, ...]
