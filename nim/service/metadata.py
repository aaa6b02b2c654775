"""Metadata of models in the Open Inference Protocol, for HTTP and gRPC."""

from __future__ import annotations

from typing import Any

from .codec.scalars import served_dims
from .runtime_api import TensorSpec
from .served_model import ServedModel

_EXTENSIONS = (
    "classification",
    "model_configuration",
    "statistics",
    "model_repository",
    "parameters",
    "sequence",
    "system_shared_memory",
)


def extensions(controls_models: bool) -> list[str]:
    """The extensions of the protocol that gRPC has, and HTTP too. `controls_models`: whether models can be unloaded."""
    return [*_EXTENSIONS, *["model_repository(unload_dependents)"] * controls_models]


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """The name, versions, platform, inputs and outputs of `model`. Shapes include the batch dimension (-1) if the model
    has one. Raises RequestError with status 503 before the model is loaded."""
    interface = model.interface
    batches = interface.max_batch_size > 0
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": model.platform,
        "inputs": [tensor_metadata(spec, batches) for spec in interface.inputs],
        "outputs": [tensor_metadata(spec, batches) for spec in interface.outputs],
    }


def tensor_metadata(spec: TensorSpec, batches: bool) -> dict[str, Any]:
    """The name, data type and shape of a tensor; -1 stands for any size. `batches` adds the batch dimension."""
    return {"name": spec.name, "datatype": spec.dtype.name, "shape": [-1] * batches + list(served_dims(spec))}
