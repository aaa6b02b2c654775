"""From a spec to Triton's own `ModelConfig` message, topic by topic, as the rules check it."""

from portalis.model_repository_gen.message.ensembles import ensemble_config
from portalis.model_repository_gen.message.model import Named, model_config

__all__ = ["Named", "ensemble_config", "model_config"]
