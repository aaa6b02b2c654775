"""An ensemble: no backend, only the way of the tensors through other models."""

from __future__ import annotations

from collections.abc import Mapping

from ...spec.ensembles import Ensemble
from ..pbtxt import ModelConfig, new_config
from .tensor_fields import add_tensors


def ensemble_config(ensemble: Ensemble, models: Mapping[str, str]) -> ModelConfig:
    """The configuration of `ensemble`; `models` gives the model's name where a step names its module."""
    config = new_config(name=ensemble.name, platform="ensemble", max_batch_size=ensemble.max_batch_size)
    add_tensors(config, ensemble.inputs, ensemble.outputs)
    for given in ensemble.steps:
        config.ensemble_scheduling.step.add(
            model_name=models.get(given.model_name, given.model_name),
            model_version=given.model_version,
            input_map=given.input_map,
            output_map=given.output_map,
        )
    return config
