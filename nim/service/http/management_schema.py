"""The JSON of the management endpoints and of errors, under /v1 and in the Open Inference Protocol (/v2)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from ..codec.inference_schema import JsonObject

V2_TAG = "open inference protocol"
Responses = dict[int | str, dict[str, Any]]


def v1_errors(texts: dict[int, str]) -> Responses:
    """Error responses under /v1 by status, for the OpenAPI description."""
    return {code: {"model": ErrorEnvelope, "description": text} for code, text in texts.items()}


def v2_errors(texts: dict[int, str]) -> Responses:
    """Error responses under /v2 by status, for the OpenAPI description."""
    return {code: {"model": V2Error, "description": text} for code, text in texts.items()}


class ErrorDetail(JsonObject):
    """An error: a human-readable message, a stable type name and the HTTP status."""

    message: str
    type: str
    code: int


class ErrorEnvelope(JsonObject):
    """The error format of all paths except those of the Open Inference Protocol."""

    error: ErrorDetail


class V2Error(JsonObject):
    """The error format of the Open Inference Protocol."""

    error: str


class Health(JsonObject):
    """The response of a successful health check."""

    object: Literal["health.response"] = "health.response"
    message: str


class ModelCard(JsonObject):
    """One model in the list, as in OpenAI's API."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """The time at which the model was loaded, in seconds since 1970; 0 before it is loaded."""
    owned_by: str = "portalis"


class ModelList(JsonObject):
    """The list of models, as in OpenAI's API."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ModelMetadata(JsonObject):
    """A model's interface. `inputs` and `outputs` have name, datatype and shape; -1 means any size."""

    name: str
    version: str
    sha256: str
    """Digest of the module's file; empty for an ensemble, which has none."""
    convention: str
    """The module's call convention, or ``ensemble``."""
    max_batch_size: int
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]


class License(JsonObject):
    """The license of the models, with the keys of the same endpoint of NVIDIA NIM."""

    name: str
    """An SPDX identifier or expression; NOASSERTION if no license is stated."""
    path: str = ""
    """Always empty: in NIM, the path of a file in the container, but here the text comes from the settings."""
    sha: str
    """SHA-1 digest of the text, in hexadecimal."""
    size: int
    """Length of the text, in characters."""
    url: str
    type: Literal["file"] = "file"
    content: str
    """The text; empty if the settings contain none."""


class ModelInfo(JsonObject):
    """A module, with the keys of NVIDIA NIM."""

    model_config = ConfigDict(protected_namespaces=())

    model_url: str = Field(serialization_alias="modelUrl")
    """The module's file name and its SHA-256 digest."""
    short_name: str = Field(serialization_alias="shortName")


class Metadata(JsonObject):
    """The service and its models, also with the keys of the same endpoint of NVIDIA NIM."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    version: str
    description: str
    models: list[ModelMetadata]
    asset_info: list[str] = Field(default=[], serialization_alias="assetInfo")
    license_info: License = Field(serialization_alias="licenseInfo")
    model_info: list[ModelInfo] = Field(serialization_alias="modelInfo")
    repository_override: str = ""


class Runtime(JsonObject):
    """The WebAssembly runtime of a module."""

    name: str
    version: str


class ManifestModel(JsonObject):
    """One module, and how it is served."""

    name: str
    version: str
    file: str
    sha256: str
    size: int
    """Size of the file, in bytes."""
    runtime: Runtime
    interface: ModelMetadata
    isolation: str
    threads: int
    limits: dict[str, int | float]
    """All limits, including those with their default values."""


class ManifestStep(JsonObject):
    """A step of an ensemble. The maps go from the model's tensor to the ensemble's."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: int
    """-1 for the only version."""
    input_map: dict[str, str]
    output_map: dict[str, str]


class ManifestEnsemble(JsonObject):
    """One ensemble, and its steps."""

    name: str
    version: str
    interface: ModelMetadata
    steps: list[ManifestStep]


class Manifest(JsonObject):
    """Every module and ensemble, and how it is served. The first two keys are those of the same endpoint of NVIDIA
    NIM."""

    manifest_file: str
    """`models` and `ensembles` as a JSON document."""
    repository_override: str = ""
    models: list[ManifestModel]
    ensembles: list[ManifestEnsemble]
    settings: dict[str, Any]
    """The effective settings of the service."""


class Version(JsonObject):
    """The versions of this release and of its API."""

    release: str
    api: str


class V2Server(JsonObject):
    """The server, in the Open Inference Protocol."""

    name: str
    version: str
    extensions: list[str]


class V2Live(JsonObject):
    """Liveness, in the Open Inference Protocol: KServe's client reads it, Triton's only the status."""

    live: Literal[True] = True


class V2Ready(JsonObject):
    """Readiness, in the Open Inference Protocol."""

    ready: Literal[True] = True


class V2TensorMetadata(JsonObject):
    """An input or output; -1 in the shape means any size."""

    name: str
    datatype: str
    shape: list[int]


class V2Model(JsonObject):
    """A model, in the Open Inference Protocol."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[V2TensorMetadata]
    outputs: list[V2TensorMetadata]


class V2ModelState(JsonObject):
    """A model in the repository index."""

    name: str
    version: str = ""
    """Omitted, like the state, for a model that was never loaded."""
    state: Literal["", "READY", "LOADING", "UNLOADING", "UNAVAILABLE"] = ""
    reason: str = ""
    """The reason why the model is unavailable; omitted for all others."""


class V2IndexRequest(JsonObject):
    """The filter of a repository index request."""

    ready: bool = False
    """Whether to list only models that are ready."""


class SystemRegion(JsonObject):
    """A registered region of system shared memory."""

    name: str
    key: str
    """The name of the shared memory object."""
    offset: int
    """The start of the region in the object, in bytes."""
    byte_size: int
    """The size of the region, in bytes."""


class CudaRegion(JsonObject):
    """A registered region of CUDA shared memory, of which the service has none."""

    name: str
    device_id: int
    byte_size: int


class V2RegisterRequest(JsonObject):
    """The registration of a region of system shared memory."""

    key: str
    """The name of the shared memory object, as in shm_open."""
    offset: int = Field(default=0, ge=0, le=2**64 - 1)
    """The start of the region in the object, in bytes."""
    byte_size: int = Field(ge=1, le=2**64 - 1)
    """The size of the region, in bytes."""


class V2Statistics(JsonObject):
    """Statistics of models, as in Triton's statistics extension."""

    model_stats: list[dict[str, Any]]
