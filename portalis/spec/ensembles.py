"""Ensembles: models that chain others of the package, inside the server."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import NonEmpty, Positive, Structure
from .model_tensors import ModelInput, ModelOutput


class EnsembleStep(Structure):
    """One model of the chain. The maps go from the model's tensor to the ensemble's, as in Triton."""

    model_name: NonEmpty
    model_version: Annotated[int, Field(ge=-1, le=2**32 - 1)] = -1
    """-1 is the newest."""
    input_map: Annotated[dict[NonEmpty, NonEmpty], Field(min_length=1)]
    output_map: Annotated[dict[NonEmpty, NonEmpty], Field(min_length=1)]


class Ensemble(Structure):
    """A model made of others."""

    name: NonEmpty
    version: Positive = 1
    max_batch_size: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    inputs: Annotated[tuple[ModelInput, ...], Field(min_length=1)]
    outputs: Annotated[tuple[ModelOutput, ...], Field(min_length=1)]
    steps: Annotated[tuple[EnsembleStep, ...], Field(min_length=1)]
