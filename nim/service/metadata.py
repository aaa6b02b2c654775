"""What a model tells of itself in the Open Inference Protocol, for HTTP and gRPC alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .models import ServedModel
from .runtime_api import TensorSpec

PLATFORM = "wasm"


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """The model's metadata: name, versions, platform, and its inputs and outputs with the batch dimension (-1) where
    the model has one. Raises RequestError with status 503 before the model is loaded."""
    interface = model.program.interface
    batches = interface.max_batch_size > 0
    return {
        "name": model.name,
        "versions": [model.settings.version],
        "platform": PLATFORM,
        "inputs": [tensor_metadata(spec, batches) for spec in interface.inputs],
        "outputs": [tensor_metadata(spec, batches) for spec in interface.outputs],
    }


def tensor_metadata(spec: TensorSpec, batches: bool) -> dict[str, Any]:
    """Name, data type and shape; -1 is any size."""
    return {"name": spec.name, "datatype": spec.dtype.name, "shape": [-1] * batches + list(spec.dims)}


def model_config(model: ServedModel) -> dict[str, Any]:
    """The model's configuration in the JSON form of Triton's ``ModelConfig``. Raises RequestError with status 503
    before the model is loaded."""
    interface = model.program.interface
    config: dict[str, Any] = {
        "name": model.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": min(interface.max_batch_size, 2**31 - 1),
        "input": _configured(interface.inputs, optional=True),
        "output": _configured(interface.outputs, optional=False),
        "instance_group": [{"name": model.name, "kind": "KIND_CPU", "count": 1}],
    }
    if interface.max_batch_size:
        config["dynamic_batching"] = {"preferred_batch_size": [], "max_queue_delay_microseconds": 0}
    return config


def _configured(specs: Sequence[TensorSpec], *, optional: bool) -> list[dict[str, Any]]:
    """A scalar is a vector of one there, reshaped to no dimension."""
    tensors = []
    for spec in specs:
        told: dict[str, Any] = {"name": spec.name, "data_type": spec.dtype.triton, "dims": list(spec.dims) or [1]}
        if not spec.dims:
            told["reshape"] = {"shape": []}
        if optional:
            told["optional"] = spec.optional
        tensors.append(told)
    return tensors
