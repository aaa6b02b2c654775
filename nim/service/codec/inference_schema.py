"""The JSON that travels: requests and responses as in the KServe protocol's version 2, and errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

MAX_TENSORS = 512
"""Inputs or outputs of a request: each that does not fit costs a description of what is wrong with it."""
Size = Annotated[int, Field(ge=0, le=2**62)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
# the elements are looked at once, where they become an array
Elements = Annotated[list[Any], SkipValidation]

_MILLISECONDS: dict[str, Any] = {"anyOf": [{"type": "number"}, {"type": "string"}]}


class JsonObject(BaseModel):
    """An object that may have keys of its own beside those that are read."""

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)


class TensorParameters(JsonObject):
    """How a tensor's data are written."""

    content_encoding: Literal["utf-8", "base64"] = "utf-8"
    """BYTES only: text, or base64 where the elements are no text."""
    binary_data_size: Count | None = None
    """The tensor's bytes lie behind the JSON, so many of them (the binary tensor data extension, /v2 only)."""
    shared_memory_region: str | None = None
    """Refused: this service reads no shared memory."""


class TensorHead(JsonObject):
    """What a tensor is, batch dimension included."""

    name: str
    datatype: str
    """BOOL, UINT8 … INT64, FP16, FP32, FP64, BF16 or BYTES."""
    shape: list[Size] = Field(max_length=32)
    parameters: TensorParameters | None = None


class Tensor(TensorHead):
    """A tensor, batch dimension included."""

    data: Elements
    """The elements, row-major: flat, or nested as `shape` says. NaN, Infinity and -Infinity are bare words, or text."""


class V2Tensor(TensorHead):
    """A tensor whose data are in the JSON, or behind it."""

    data: Elements | None = None
    """The elements, row-major: flat, or nested as `shape` says. NaN, Infinity and -Infinity are bare words, or text."""


class OutputParameters(JsonObject):
    """How an output is wanted."""

    binary_data: bool | None = None
    """Behind the JSON as raw bytes (/v2 only)."""
    classification: Count | None = None
    """Refused when above 0: this service does not classify."""
    shared_memory_region: str | None = None
    """Refused: this service writes no shared memory."""


class RequestedOutput(JsonObject):
    """An output that the client wants; all come when none is asked for."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(JsonObject):
    """What concerns the whole request."""

    timeout: Count | None = None
    """Microseconds that the answer may take, waiting included; 0 is no limit but the model's."""
    binary_data_output: bool | None = None
    """All outputs as raw bytes that do not say otherwise themselves (/v2 only)."""
    sequence_id: int | str | None = None
    """Refused unless it is 0 or empty: models here keep no state between requests."""
    wasm_timeout_ms: Annotated[Any, Field(alias="wasm.timeout_ms", json_schema_extra=_MILLISECONDS)] = None
    """Milliseconds that the module may compute for this request, up to the model's own limit, as on Triton."""


class RequestHead(JsonObject):
    """What a request says beside its tensors."""

    id: str | None = None
    parameters: RequestParameters | None = None
    outputs: list[RequestedOutput] | None = Field(default=None, max_length=MAX_TENSORS, fail_fast=True)


class InferRequest(RequestHead):
    """What a model is asked."""

    inputs: list[Tensor] = Field(max_length=MAX_TENSORS, fail_fast=True)


class V2InferRequest(RequestHead):
    """What a model is asked in the Open Inference Protocol."""

    inputs: list[V2Tensor] = Field(max_length=MAX_TENSORS, fail_fast=True)


class ResponseHead(JsonObject):
    """What a response says beside its tensors."""

    model_name: str
    model_version: str
    id: str | None = None


class InferResponse(ResponseHead):
    """What a model answers."""

    outputs: list[Tensor]


class V2InferResponse(ResponseHead):
    """What a model answers in the Open Inference Protocol."""

    outputs: list[V2Tensor]
