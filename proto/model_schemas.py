"""JSON schemas of a model's requests and responses, in the subset that OpenAPI 3.0 and 3.1 share."""

from __future__ import annotations

from typing import Any

from .api_models import ApiModel, ApiTensor

Schema = dict[str, Any]
_NOT_FINITE = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}


def request_schema(model: ApiModel) -> Schema:
    """The schema of a request to the model."""
    names = [tensor.name for tensor in model.outputs]
    output = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "enum": names}}}
    return {
        "type": "object",
        "title": f"Request of {model.name}",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "description": "Returned in the response."},
            "inputs": {
                "type": "array",
                "minItems": len(model.required_inputs),
                "maxItems": len(model.inputs),
                "items": {"oneOf": [_tensor(each, nested=len(each.shape) > 1) for each in model.inputs]},
            },
            "outputs": {
                "type": "array",
                "description": "The requested outputs; all of them if omitted.",
                "items": output,
            },
        },
    }


def response_schema(model: ApiModel) -> Schema:
    """The schema of a response of the model."""
    return {
        "type": "object",
        "title": f"Response of {model.name}",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string", "enum": [model.name]},
            "model_version": {"type": "string"},
            "id": {"type": "string", "description": "The id of the request, if it has one."},
            "outputs": {
                "type": "array",
                "minItems": 1,
                "maxItems": len(model.outputs),
                "items": {"oneOf": [_tensor(each, nested=False) for each in model.outputs]},
            },
        },
    }


def _tensor(tensor: ApiTensor, *, nested: bool) -> Schema:
    rank = len(tensor.shape)
    element = _element(tensor.datatype)
    if nested:
        element = {"anyOf": [*element.get("anyOf", [element]), {"type": "array", "items": {}}]}
    layout = "row-major, flat or nested according to the shape" if nested else "row-major"
    properties: Schema = {
        "name": {"type": "string", "enum": [tensor.name]},
        "datatype": {"type": "string", "enum": [tensor.datatype]},
        "shape": {
            "type": "array",
            "description": f"{list(tensor.shape)}, where -1 is any size.",
            "minItems": rank,
            "maxItems": rank,
            "items": {"type": "integer", "minimum": 0},
        },
        "data": {"type": "array", "description": f"The elements: {layout}.", "items": element},
    }
    if tensor.datatype == "BYTES":
        encoding = {"type": "string", "enum": ["utf-8", "base64"], "default": "utf-8"}
        properties["parameters"] = {"type": "object", "properties": {"content_encoding": encoding}}
    return {"type": "object", "required": ["name", "datatype", "shape", "data"], "properties": properties}


def _element(datatype: str) -> Schema:
    if datatype == "BYTES":
        return {"type": "string"}
    if datatype == "BOOL":
        return {"anyOf": [{"type": "boolean"}, {"type": "integer", "enum": [0, 1]}]}
    if datatype in ("FP16", "BF16", "FP32", "FP64"):
        return {"anyOf": [{"type": "number"}, _NOT_FINITE]}
    signed = datatype.startswith("INT")
    bits = int(datatype.removeprefix("INT" if signed else "UINT"))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return {"type": "integer", "minimum": low, "maximum": high}
