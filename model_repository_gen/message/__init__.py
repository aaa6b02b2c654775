"""From a spec to Triton's own `ModelConfig` message, topic by topic, as the rules check it."""

from .ensembles import ensemble_config
from .model_config import Named, model_config

__all__ = ["Named", "ensemble_config", "model_config"]
