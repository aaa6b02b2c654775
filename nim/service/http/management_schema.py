"""The JSON of the management endpoints and of errors, under /v1 and in the Open Inference Protocol (/v2)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from ..codec.inference_schema import JsonObject

V2_TAG = "open inference protocol"
Responses = dict[int | str, dict[str, Any]]


def v1_errors(texts: dict[int, str]) -> Responses:
    """Error responses under /v1 by status, for the API's description."""
    return {code: {"model": ErrorEnvelope, "description": text} for code, text in texts.items()}


def v2_errors(texts: dict[int, str]) -> Responses:
    """Error responses under /v2 by status, for the API's description."""
    return {code: {"model": V2Error, "description": text} for code, text in texts.items()}


class ErrorDetail(JsonObject):
    """What is wrong: for people, by a stable name, and as HTTP status."""

    message: str
    type: str
    code: int


class ErrorEnvelope(JsonObject):
    """How every error is told, but those of the Open Inference Protocol."""

    error: ErrorDetail


class V2Error(JsonObject):
    """How the Open Inference Protocol tells an error."""

    error: str


class Health(JsonObject):
    """A service that is well."""

    object: Literal["health.response"] = "health.response"
    message: str


class ModelCard(JsonObject):
    """One model in the list, as OpenAI's API has it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """Seconds since 1970: when the model was loaded, 0 before."""
    owned_by: str = "portalis"


class ModelList(JsonObject):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ModelMetadata(JsonObject):
    """A model's interface. `inputs` and `outputs` have name, datatype and shape, -1 for any size."""

    name: str
    version: str
    sha256: str
    convention: str
    max_batch_size: int
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]


class License(JsonObject):
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


class ModelInfo(JsonObject):
    """A model as NVIDIA NIM lists it."""

    model_config = ConfigDict(protected_namespaces=())

    model_url: str = Field(serialization_alias="modelUrl")
    """The module's file and its SHA-256."""
    short_name: str = Field(serialization_alias="shortName")


class Metadata(JsonObject):
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


class Runtime(JsonObject):
    """What runs a module."""

    name: str
    version: str


class ManifestModel(JsonObject):
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


class Manifest(JsonObject):
    """All that is served, and how. The first two keys are those of NVIDIA NIM's own endpoint."""

    manifest_file: str
    """`models` as the text of a JSON file."""
    repository_override: str = ""
    models: list[ManifestModel]
    settings: dict[str, Any]
    """Those of the service, as they are in force."""


class Version(JsonObject):
    """Versions: of the release that the service is, and of its API."""

    release: str
    api: str


class V2Server(JsonObject):
    """The server, in the Open Inference Protocol."""

    name: str
    version: str
    extensions: list[str]


class V2TensorMetadata(JsonObject):
    """An input or output; -1 in the shape is any size."""

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
    """A model in the repository's index."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str


class V2IndexRequest(JsonObject):
    """What is wanted of the repository's index."""

    ready: bool = False
    """Only models that are ready."""


class V2Statistics(JsonObject):
    """What models have done, as in Triton's statistics extension."""

    model_stats: list[dict[str, Any]]
