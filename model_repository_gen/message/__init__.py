"""Converts a spec to Triton's `ModelConfig` message, one module per topic."""

from .model_config import ModelSource, build_ensemble_config, build_model_config

__all__ = ["ModelSource", "build_ensemble_config", "build_model_config"]
