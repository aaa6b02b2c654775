"""The OpenAPI document of the service containers, made from what the service application says of itself.

``templates/service.json`` is the description that the application's framework gives out; a test compares the two. Here
it gets the package's name and servers, and in place of the route for any model one for each, with schemas of its own.
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
from . import example_request as examples
from .api_models import ApiModel
from .identifiers import identifiers, type_names
from .model_schemas import request_schema, response_schema

Document = dict[str, Any]
SERVICE = Path(__file__).parent / "templates" / "service.json"
INFER = "/v1/models/{name}/infer"
_REF = "#/components/schemas/"
_OF_ITS_OWN = "Every module is served by an image of its own, which answers the inference path of that module only."
_OF_ALL = "One image serves all modules, and answers the inference path of each."


def document(spec: PackageSpec, models: Iterable[ApiModel]) -> Document:
    """The document in OpenAPI 3.1."""
    models = tuple(models)
    result: Document = json.loads(SERVICE.read_text(encoding="utf-8"))
    port = spec.container_config.service_port
    served = _OF_ALL if spec.container_config.package_image else _OF_ITS_OWN
    result["info"] = {
        "title": f"{spec.package_name} API",
        "version": spec.package_version,
        "description": f"{spec.description}\n\n{served}".strip() if len(models) > 1 else spec.description,
    }
    result["servers"] = [{"url": f"http://localhost:{port}", "description": "Development server"}]
    paths, schemas = result["paths"], result["components"]["schemas"]
    _add_health(paths, spec.container_config.health_check_endpoint)
    route = paths.pop(INFER)["post"]
    types, words = type_names(model.name for model in models), identifiers(model.name for model in models)
    for model in models:
        kind = types[model.name]
        path = f"/v1/models/{quote(model.name, safe='')}/infer"
        paths[path] = {"post": _route(route, model, words[model.name], kind)}
        schemas |= {f"{kind}Request": request_schema(model), f"{kind}Response": response_schema(model)}
    used = set(_reached(paths, schemas))
    result["components"]["schemas"] = {name: schemas[name] for name in sorted(used)}
    return result


def for_3_0(document: Document) -> Document:
    """The same document in OpenAPI 3.0.3."""
    result: Document = _older(document)
    return {**result, "openapi": "3.0.3"}


def written(document: Document) -> str:
    """The document's text."""
    return escape_hidden(json.dumps(document, indent=2, ensure_ascii=False)) + "\n"


def _add_health(paths: Document, endpoint: str) -> None:
    if endpoint not in paths:
        path: Document = copy.deepcopy(paths["/health"])
        path["get"]["operationId"] = "health_of_the_container"
        paths[endpoint] = path


def _route(any_model: Document, model: ApiModel, word: str, kind: str) -> Document:
    route: Document = copy.deepcopy(any_model)
    route["summary"] = f"Run inference on {model.name}"
    route["description"] = model.description or route["description"]
    route["operationId"] = f"infer_{word}"
    route.pop("parameters", None)  # the name, which is in the path now
    body: Document = {"schema": {"$ref": f"{_REF}{kind}Request"}}
    example = examples.request(model)
    if example is not None:
        body["example"] = example
    route["requestBody"] = {"required": True, "content": {"application/json": body}}
    answer = {"schema": {"$ref": f"{_REF}{kind}Response"}}
    route["responses"]["200"]["content"] = {"application/json": answer}
    return route


def _reached(value: Any, schemas: Document) -> Iterator[str]:
    """The schemas that are referred to, and those that these refer to."""
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


def _older(value: Any) -> Any:
    """JSON Schema as OpenAPI 3.0 knows it: no `const`, and `nullable` in place of the type null."""
    if isinstance(value, list):
        return [_older(each) for each in value]
    if not isinstance(value, dict):
        return value
    # an example, a default or a list of words is data, in which keys mean nothing
    result = {key: each if key in ("example", "enum", "default") else _older(each) for key, each in value.items()}
    if "const" in result and isinstance(result.get("type", "string"), str):
        result["enum"] = [result.pop("const")]
    choices = result.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        rest = [each for each in choices if each != {"type": "null"}]
        del result["anyOf"]
        what = rest[0] if len(rest) == 1 and "$ref" not in rest[0] else {"allOf" if len(rest) == 1 else "anyOf": rest}
        return {**what, **result, "nullable": True}
    return result
