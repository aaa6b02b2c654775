"""What the service tells of itself in the Open Inference Protocol."""

from __future__ import annotations

from typing import Any, Literal

from ..codec.inference_schema import Json


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
