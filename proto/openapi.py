"""The OpenAPI document of a package's service containers, derived from the document of the service.

``templates/service.json`` is the document that the service's framework generates; a test compares the two. It gets the
package's name and servers, and one route per model, with its own schemas, instead of the route for all models.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..escaping import escape_hidden
from ..spec import PackageSpec
from .api_models import ApiModel
from .example_request import example_request
from .identifiers import proto_identifiers, type_names
from .model_schemas import request_schema, response_schema

Document = dict[str, Any]
SERVICE_DOCUMENT = Path(__file__).parent / "templates" / "service.json"
INFER_PATH = "/v1/models/{name}/infer"
_REF = "#/components/schemas/"
_SEPARATE_IMAGES = "Each module is served by a separate image, which has only the inference path of that module."
_PACKAGE_IMAGE = "One image serves all modules and has their inference paths."


def openapi_document(spec: PackageSpec, models: Iterable[ApiModel]) -> Document:
    """The document for `models` in OpenAPI 3.1."""
    models = tuple(models)
    result: Document = json.loads(SERVICE_DOCUMENT.read_text(encoding="utf-8"))
    port = spec.container_config.service_port
    served = _PACKAGE_IMAGE if spec.container_config.package_image else _SEPARATE_IMAGES
    result["info"] = {
        "title": f"{spec.package_name} API",
        "version": spec.package_version,
        "description": f"{spec.description}\n\n{served}".strip() if len(models) > 1 else spec.description,
    }
    result["servers"] = [{"url": f"http://localhost:{port}", "description": "Development server"}]
    paths, schemas = result["paths"], result["components"]["schemas"]
    _add_health(paths, spec.container_config.health_check_endpoint)
    route = paths.pop(INFER_PATH)["post"]
    names = [model.name for model in models]
    types, identifiers = type_names(names), proto_identifiers(names)
    for model in models:
        schema = types[model.name]
        path = f"/v1/models/{quote(model.name, safe='')}/infer"
        paths[path] = {"post": _route(route, model, identifiers[model.name], schema)}
        schemas |= {f"{schema}Request": request_schema(model), f"{schema}Response": response_schema(model)}
    used = set(_referenced(paths, schemas))
    result["components"]["schemas"] = {name: schemas[name] for name in sorted(used)}
    return result


def to_openapi_3_0(document: Document) -> Document:
    """The document converted to OpenAPI 3.0.3."""
    result: Document = _convert_schema(document)
    return {**result, "openapi": "3.0.3"}


def openapi_text(document: Document) -> str:
    """The document as JSON text."""
    return escape_hidden(json.dumps(document, indent=2, ensure_ascii=False)) + "\n"


def _add_health(paths: Document, endpoint: str) -> None:
    if endpoint not in paths:
        path: Document = copy.deepcopy(paths["/health"])
        path["get"]["operationId"] = "health_of_the_container"
        paths[endpoint] = path


def _route(template: Document, model: ApiModel, identifier: str, schema: str) -> Document:
    route: Document = copy.deepcopy(template)
    route["summary"] = f"Run inference on {model.name}"
    route["description"] = model.description or route["description"]
    route["operationId"] = f"infer_{identifier}"
    route.pop("parameters", None)  # the path contains the name
    body: Document = {"schema": {"$ref": f"{_REF}{schema}Request"}}
    example = example_request(model)
    if example is not None:
        body["example"] = example
    route["requestBody"] = {"required": True, "content": {"application/json": body}}
    response = {"schema": {"$ref": f"{_REF}{schema}Response"}}
    route["responses"]["200"]["content"] = {"application/json": response}
    return route


def _referenced(value: Any, schemas: Document) -> Iterator[str]:
    """The names of all schemas that `value` refers to, directly or through other schemas."""
    seen: set[str] = set()
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            ref = each.get("$ref")
            if isinstance(ref, str) and ref not in seen:
                seen.add(ref)
                yield ref.removeprefix(_REF)
                stack.append(schemas[ref.removeprefix(_REF)])
            stack += each.values()
        elif isinstance(each, list):
            stack += each


def _convert_schema(value: Any) -> Any:
    """Convert JSON Schema to OpenAPI 3.0's form: `enum` instead of `const`, `nullable` instead of the type null."""
    if isinstance(value, list):
        return [_convert_schema(each) for each in value]
    if not isinstance(value, dict):
        return value
    # examples, defaults and enums are data: their keys are not keywords
    result = {
        key: each if key in ("example", "enum", "default") else _convert_schema(each) for key, each in value.items()
    }
    if "const" in result and isinstance(result.get("type", "string"), str):
        result["enum"] = [result.pop("const")]
    choices = result.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        rest = [each for each in choices if each != {"type": "null"}]
        del result["anyOf"]
        schema = rest[0] if len(rest) == 1 and "$ref" not in rest[0] else {"allOf" if len(rest) == 1 else "anyOf": rest}
        return {**schema, **result, "nullable": True}
    return result
