"""Metadata and configuration of models in the Open Inference Protocol, for HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .runtime_api import TensorSpec
from .served_model import ServedModel

PLATFORM = "wasm"
EXTENSIONS = ("model_configuration", "statistics", "model_repository")
"""Extensions of the protocol that gRPC has, and HTTP too."""
HTTP_EXTENSIONS = sorted(("binary_tensor_data", *EXTENSIONS))
_MAX_INT32 = 2**31 - 1


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """The name, versions, platform, inputs and outputs of `model`. Shapes include the batch dimension (-1) if the model
    has one. Raises RequestError with status 503 before the model is loaded."""
    interface = model.interface
    batches = interface.max_batch_size > 0
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": PLATFORM,
        "inputs": [tensor_metadata(spec, batches) for spec in interface.inputs],
        "outputs": [tensor_metadata(spec, batches) for spec in interface.outputs],
    }


def tensor_metadata(spec: TensorSpec, batches: bool) -> dict[str, Any]:
    """The name, data type and shape of a tensor; -1 stands for any size. `batches` adds the batch dimension."""
    return {"name": spec.name, "datatype": spec.dtype.name, "shape": [-1] * batches + list(spec.dims)}


def model_config(model: ServedModel) -> dict[str, Any]:
    """The configuration of `model` in the JSON form of Triton's ``ModelConfig``. Raises RequestError with status 503
    before the model is loaded."""
    interface = model.interface
    config: dict[str, Any] = {
        "name": model.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": min(interface.max_batch_size, _MAX_INT32),
        "input": _tensor_configs(interface.inputs, optional=True),
        "output": _tensor_configs(interface.outputs, optional=False),
        "instance_group": [{"name": model.name, "kind": "KIND_CPU", "count": 1}],
    }
    if interface.max_batch_size:
        config["dynamic_batching"] = {"preferred_batch_size": [], "max_queue_delay_microseconds": 0}
    return config


def _tensor_configs(specs: Sequence[TensorSpec], *, optional: bool) -> list[dict[str, Any]]:
    """The tensors of a ``ModelConfig``. A scalar is a vector of one element there, reshaped to no dimension."""
    tensors = []
    for spec in specs:
        tensor: dict[str, Any] = {"name": spec.name, "data_type": spec.dtype.triton, "dims": list(spec.dims) or [1]}
        if not spec.dims:
            tensor["reshape"] = {"shape": []}
        if optional:
            tensor["optional"] = spec.optional
        tensors.append(tensor)
    return tensors
