"""The settings of ensembles: models that consist of steps, each of which calls another model of the service."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .settings_table import FileName, Name, SettingsTable

MAX_STEPS = 1000
"""Maximum number of steps of an ensemble."""
MAX_ENSEMBLE_TENSORS = 128
"""Maximum number of inputs and of outputs of an ensemble, that of a module."""
_MAX_RANK = 8
_TensorName = Annotated[str, Field(min_length=1, max_length=256)]
_TensorMap = Annotated[dict[_TensorName, _TensorName], Field(min_length=1, max_length=MAX_ENSEMBLE_TENSORS)]
_Dim = Annotated[int, Field(ge=-1, le=2**31 - 1)]
_Dims = Annotated[tuple[_Dim, ...], Field(max_length=_MAX_RANK)]


class EnsembleOutputSettings(SettingsTable):
    """A tensor of an ensemble. `dims` exclude the batch dimension; -1 is any size."""

    name: _TensorName
    data_type: Literal[
        "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
        "FP16", "BF16", "FP32", "FP64", "STRING", "BYTES",
    ]  # fmt: skip
    """The data type; STRING and BYTES are the same."""
    dims: Annotated[_Dims, Field(min_length=1)]
    reshape: _Dims | None = None
    """The shape in the steps, with as many elements as `dims`."""


class EnsembleInputSettings(EnsembleOutputSettings):
    """An input of an ensemble."""

    optional: bool = False
    """Whether a request can omit the input. The steps that read it then get no tensor for it."""


class StepSettings(SettingsTable):
    """A step of an ensemble. The maps go from the model's tensor to the ensemble's, as in Triton."""

    model_name: Name
    model_version: Annotated[int, Field(ge=-1, le=2**32 - 1)] = -1
    """The version of the model; -1 for the one that the service has."""
    input_map: _TensorMap
    output_map: _TensorMap


class EnsembleSettings(SettingsTable):
    """A model that consists of other models of the service."""

    name: Name
    version: Name = "1"
    max_batch_size: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Maximum number of rows of a request; 0 means that tensors have no batch dimension."""
    inputs: Annotated[tuple[EnsembleInputSettings, ...], Field(min_length=1, max_length=MAX_ENSEMBLE_TENSORS)]
    outputs: Annotated[tuple[EnsembleOutputSettings, ...], Field(min_length=1, max_length=MAX_ENSEMBLE_TENSORS)]
    labels: dict[str, FileName] = {}  # noqa: RUF012  # pydantic copies defaults
    """Label files by output, as those of a module."""
    steps: Annotated[tuple[StepSettings, ...], Field(min_length=1, max_length=MAX_STEPS)]
