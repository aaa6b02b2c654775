"""Ensembles: models that run other models of the service as steps, and pass arrays between them without a copy."""

from .ensemble_model import EnsembleModel

__all__ = ["EnsembleModel"]
