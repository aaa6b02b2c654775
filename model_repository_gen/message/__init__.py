"""From a spec to Triton's own `ModelConfig` message, topic by topic, as the rules check it."""

from .model_config import ModelSource, build_ensemble_config, build_model_config

__all__ = ["ModelSource", "build_ensemble_config", "build_model_config"]
