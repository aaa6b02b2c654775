"""The JSON of inference requests and responses, as in version 2 of KServe's protocol."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

MAX_TENSORS = 512
"""Maximum number of inputs or of outputs of a request: each invalid one adds to the error message."""
Size = Annotated[int, Field(ge=0, le=2**62)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
# the elements are checked once, when they become an array
Elements = Annotated[list[Any], SkipValidation]

_UNSIGNED: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}
# these are parsed by `region_parameters`, whose errors are those of Triton
RegionName = Annotated[Any, Field(json_schema_extra={"type": "string"})]
Bytes = Annotated[Any, Field(json_schema_extra=_UNSIGNED)]
# these are parsed by `sequence_parameters`, likewise
SequenceId = Annotated[Any, Field(json_schema_extra={"anyOf": [_UNSIGNED, {"type": "string", "maxLength": 128}]})]
Flag = Annotated[Any, Field(json_schema_extra={"type": "boolean"})]
_MILLISECONDS: dict[str, Any] = {"anyOf": [{"type": "number"}, {"type": "string"}]}


class JsonObject(BaseModel):
    """A JSON object; unknown keys are ignored."""

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)


class TensorParameters(JsonObject):
    """The encoding of a tensor's data."""

    content_encoding: Literal["utf-8", "base64"] = "utf-8"
    """BYTES only: the elements are text, or base64 of other bytes."""
    binary_data_size: Count | None = None
    """Number of bytes of the tensor, which follow the JSON (the binary tensor data extension, /v2 only)."""
    shared_memory_region: RegionName = None
    """The name of the registered region that contains the data (the shared memory extension, /v2 only)."""
    shared_memory_offset: Bytes = None
    """The offset of the data in the region, in bytes; 0 by default."""
    shared_memory_byte_size: Bytes = None
    """The size of the data in the region, in bytes; required with `shared_memory_region`."""


class TensorHead(JsonObject):
    """The name, data type and shape of a tensor. The shape includes the batch dimension."""

    name: str
    datatype: str
    """BOOL, UINT8 … INT64, FP16, FP32, FP64, BF16 or BYTES."""
    shape: list[Size] = Field(max_length=32)
    parameters: TensorParameters | None = None


class Tensor(TensorHead):
    """A tensor with its data in the JSON."""

    data: Elements
    """The elements, row-major: flat, or nested as in `shape`. NaN, Infinity and -Infinity are literals, or strings."""


class V2Tensor(TensorHead):
    """A tensor whose data is in the JSON, or follows it as raw bytes."""

    data: Elements | None = None
    """The elements, row-major: flat, or nested as in `shape`. NaN, Infinity and -Infinity are literals, or strings."""


class OutputParameters(JsonObject):
    """The requested form of an output."""

    binary_data: bool | None = None
    """As raw bytes that follow the JSON (/v2 only)."""
    classification: Annotated[int, Field(ge=0, le=2**64 - 1)] | None = None
    """Number of classes in place of the tensor: for each row, the highest values as ``value:index`` or
    ``value:index:label``. 0 requests the tensor itself."""
    shared_memory_region: RegionName = None
    """The name of the registered region to which the output is written (/v2 only)."""
    shared_memory_offset: Bytes = None
    """The offset of the output in the region, in bytes; 0 by default."""
    shared_memory_byte_size: Bytes = None
    """The maximum size of the output in the region, in bytes; required with `shared_memory_region`."""


class RequestedOutput(JsonObject):
    """A requested output. By default, the response has all outputs."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(JsonObject):
    """Parameters of the whole request."""

    timeout: Count | None = None
    """Maximum time until the response in microseconds, queueing included; with 0, only the model's limit applies."""
    binary_data_output: bool | None = None
    """All outputs as raw bytes, if the request lists no outputs (/v2 only)."""
    sequence_id: SequenceId = 0
    """The sequence to which the request belongs, a number or a text of up to 128 bytes; 0 and "" mean none. Models
    without sequences ignore it."""
    sequence_start: Flag = False
    """Whether the request is the first of its sequence."""
    sequence_end: Flag = False
    """Whether the request is the last of its sequence."""
    wasm_timeout_ms: Annotated[Any, Field(alias="wasm.timeout_ms", json_schema_extra=_MILLISECONDS)] = None
    """Maximum computing time of the module in milliseconds, up to the model's own limit, as on Triton."""


class RequestHead(JsonObject):
    """The part of a request without its tensors."""

    id: str | None = None
    parameters: RequestParameters | None = None
    outputs: list[RequestedOutput] | None = Field(default=None, max_length=MAX_TENSORS, fail_fast=True)


class InferRequest(RequestHead):
    """A request to run a model."""

    inputs: list[Tensor] = Field(max_length=MAX_TENSORS, fail_fast=True)


class V2InferRequest(RequestHead):
    """A request to run a model, in the Open Inference Protocol."""

    inputs: list[V2Tensor] = Field(max_length=MAX_TENSORS, fail_fast=True)


class ResponseHead(JsonObject):
    """The part of a response without its tensors."""

    model_name: str
    model_version: str
    id: str | None = None


class InferResponse(ResponseHead):
    """The outputs of a model."""

    outputs: list[Tensor]


class V2InferResponse(ResponseHead):
    """The outputs of a model, in the Open Inference Protocol."""

    outputs: list[V2Tensor]
