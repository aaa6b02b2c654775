"""The JSON of requests that load and unload models."""

from __future__ import annotations

from ..codec.inference_schema import JsonObject


class V2LoadParameters(JsonObject):
    """The parameters of a load."""

    config: str = ""
    """The JSON form of a ModelConfig with the field `max_batch_size`, which replaces that of the module until it is
    loaded without this parameter."""


class V2LoadRequest(JsonObject):
    """A request to load a model."""

    parameters: V2LoadParameters = V2LoadParameters()


class V2UnloadParameters(JsonObject):
    """The parameters of an unload."""

    unload_dependents: bool = False
    """Whether to unload the models that only the unloaded ensemble calls, too, if no client has loaded them."""


class V2UnloadRequest(JsonObject):
    """A request to unload a model."""

    parameters: V2UnloadParameters = V2UnloadParameters()
