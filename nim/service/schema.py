"""The JSON that travels: requests and responses as in the KServe protocol's version 2, and what the service tells."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Size = Annotated[int, Field(ge=0, le=2**62)]


class Json(BaseModel):
    """An object that may have keys of its own beside those that are read."""

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)


class TensorParameters(Json):
    """How a tensor's data are written."""

    content_encoding: Literal["utf-8", "base64"] = "utf-8"
    """BYTES only: text, or base64 where the elements are no text."""


class Tensor(Json):
    """A tensor, batch dimension included."""

    name: str
    datatype: str
    """BOOL, UINT8 … INT64, FP16, FP32, FP64, BF16 or BYTES."""
    shape: list[Size] = Field(max_length=32)
    data: list[Any]
    """The elements, row-major: flat, or nested as `shape` says. NaN and infinities are strings."""
    parameters: TensorParameters | None = None


class RequestedOutput(Json):
    """An output that the client wants; all come when none is asked for."""

    name: str


class InferRequest(Json):
    """What a model is asked."""

    id: str | None = None
    inputs: list[Tensor]
    outputs: list[RequestedOutput] | None = None


class InferResponse(Json):
    """What a model answers."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Tensor]


class Health(Json):
    """A service that is well."""

    object: Literal["health.response"] = "health.response"
    message: str


class ErrorDetail(Json):
    """What is wrong: for people, by a stable name, and as HTTP status."""

    message: str
    type: str
    code: int


class ErrorEnvelope(Json):
    """How every error is told."""

    error: ErrorDetail


class ModelCard(Json):
    """One model in the list, as OpenAI's API has it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """Seconds since 1970: when the model was loaded, 0 before."""
    owned_by: str = "portalis"


class ModelList(Json):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ModelMetadata(Json):
    """A model's interface. `inputs` and `outputs` have name, datatype and shape, -1 for any size."""

    name: str
    version: str
    sha256: str
    convention: str
    max_batch_size: int
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]


class Metadata(Json):
    """The service and its models."""

    name: str
    version: str
    description: str
    models: list[ModelMetadata]


class Version(Json):
    """Versions: of the release that the service is, and of its API."""

    release: str
    api: str
