"""The parts of Triton's ``ModelConfig`` that only ensembles have."""

from __future__ import annotations

from typing import Any

from ..ensemble_settings import EnsembleSettings


def complete_ensemble_config(config: Any, settings: EnsembleSettings) -> None:
    """Complete `config`, a ``ModelConfig`` message, with the platform, the reshapes and the steps."""
    config.platform = "ensemble"
    for described, tensors in ((config.input, settings.inputs), (config.output, settings.outputs)):
        for message, tensor in zip(described, tensors):
            if tensor.reshape is not None:
                message.reshape.SetInParent()  # a scalar has a shape without dims
                message.reshape.shape.extend(tensor.reshape)
    config.model_transaction_policy.decoupled = False  # Triton sets it for each ensemble
    for step in settings.steps:
        config.ensemble_scheduling.step.add(**step.model_dump())
