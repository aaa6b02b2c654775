"""The JSON that travels: requests and responses as in the KServe protocol's version 2, and what the service tells."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

Size = Annotated[int, Field(ge=0, le=2**62)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
# the elements are looked at once, where they become an array
Elements = Annotated[list[Any], SkipValidation]


class Json(BaseModel):
    """An object that may have keys of its own beside those that are read."""

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)


class TensorParameters(Json):
    """How a tensor's data are written."""

    content_encoding: Literal["utf-8", "base64"] = "utf-8"
    """BYTES only: text, or base64 where the elements are no text."""
    binary_data_size: Count | None = None
    """The tensor's bytes lie behind the JSON, so many of them (the binary tensor data extension, /v2 only)."""
    shared_memory_region: str | None = None
    """Refused: this service reads no shared memory."""


class TensorHead(Json):
    """What a tensor is, batch dimension included."""

    name: str
    datatype: str
    """BOOL, UINT8 … INT64, FP16, FP32, FP64, BF16 or BYTES."""
    shape: list[Size] = Field(max_length=32)
    parameters: TensorParameters | None = None


class Tensor(TensorHead):
    """A tensor, batch dimension included."""

    data: Elements
    """The elements, row-major: flat, or nested as `shape` says. NaN and infinities are strings."""


class V2Tensor(TensorHead):
    """A tensor whose data are in the JSON, or behind it."""

    data: Elements | None = None
    """The elements, row-major: flat, or nested as `shape` says. NaN and infinities are strings."""


class OutputParameters(Json):
    """How an output is wanted."""

    binary_data: bool | None = None
    """Behind the JSON as raw bytes (/v2 only)."""
    classification: Count | None = None
    """Refused when above 0: this service does not classify."""
    shared_memory_region: str | None = None
    """Refused: this service writes no shared memory."""


class RequestedOutput(Json):
    """An output that the client wants; all come when none is asked for."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(Json):
    """What concerns the whole request."""

    timeout: Count | None = None
    """Microseconds that the answer may take, waiting included; 0 is no limit but the model's."""
    binary_data_output: bool | None = None
    """All outputs as raw bytes that do not say otherwise themselves (/v2 only)."""
    sequence_id: int | str | None = None
    """Refused unless it is 0 or empty: models here keep no state between requests."""


class RequestHead(Json):
    """What a request says beside its tensors."""

    id: str | None = None
    parameters: RequestParameters | None = None
    outputs: list[RequestedOutput] | None = None


class InferRequest(RequestHead):
    """What a model is asked."""

    inputs: list[Tensor]


class V2InferRequest(RequestHead):
    """What a model is asked in the Open Inference Protocol."""

    inputs: list[V2Tensor]


class ResponseHead(Json):
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
    """How every error is told, but those of the Open Inference Protocol."""

    error: ErrorDetail


class V2Error(Json):
    """How the Open Inference Protocol tells an error."""

    error: str


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


class License(Json):
    """The licence, with the keys of NVIDIA NIM's own endpoint."""

    name: str
    """An SPDX identifier or expression; NOASSERTION where none is stated."""
    path: str = ""
    """NIM's path of a file in the container; empty, as the text lies in the settings."""
    sha: str
    """SHA-1 of the text."""
    size: int
    """Characters of the text."""
    url: str
    type: Literal["file"] = "file"
    content: str
    """The text, empty where none was given."""


class ModelInfo(Json):
    """A model as NVIDIA NIM lists it."""

    model_config = ConfigDict(protected_namespaces=())

    model_url: str = Field(serialization_alias="modelUrl")
    """The module's file and its SHA-256."""
    short_name: str = Field(serialization_alias="shortName")


class Metadata(Json):
    """The service and its models, and the same with the keys of NVIDIA NIM's own endpoint."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    version: str
    description: str
    models: list[ModelMetadata]
    asset_info: list[str] = Field(default=[], serialization_alias="assetInfo")
    license_info: License = Field(serialization_alias="licenseInfo")
    model_info: list[ModelInfo] = Field(serialization_alias="modelInfo")
    repository_override: str = ""


class Runtime(Json):
    """What runs a module."""

    name: str
    version: str


class ManifestModel(Json):
    """One module as it is served."""

    name: str
    version: str
    file: str
    sha256: str
    size: int
    """Bytes of the file."""
    runtime: Runtime
    interface: ModelMetadata
    isolation: str
    threads: int
    limits: dict[str, int | float]
    """All limits, those that are not set included."""


class Manifest(Json):
    """All that is served, and how. The first two keys are those of NVIDIA NIM's own endpoint."""

    manifest_file: str
    """`models` as the text of a JSON file."""
    repository_override: str = ""
    models: list[ManifestModel]
    settings: dict[str, Any]
    """Those of the service, as they are in force."""


class Version(Json):
    """Versions: of the release that the service is, and of its API."""

    release: str
    api: str


class V2Server(Json):
    """The server, in the Open Inference Protocol."""

    name: str
    version: str
    extensions: list[str]


class V2TensorMetadata(Json):
    """An input or output; -1 in the shape is any size."""

    name: str
    datatype: str
    shape: list[int]


class V2Model(Json):
    """A model, in the Open Inference Protocol."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[V2TensorMetadata]
    outputs: list[V2TensorMetadata]


class V2ModelState(Json):
    """A model in the repository's index."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str


class V2IndexRequest(Json):
    """What is wanted of the repository's index."""

    ready: bool = False
    """Only models that are ready."""


class V2Statistics(Json):
    """What models have done, as in Triton's statistics extension."""

    model_stats: list[dict[str, Any]]
