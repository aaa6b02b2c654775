"""The configuration of a model that runs one module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...spec.model_tensors import DataType, ModelInput, ModelOutput
from ...spec.package_spec import ModuleInterface
from ...spec.scheduling import DynamicBatchingConfig
from ...spec.triton import CustomPlatform, Ensemble, InstanceGroup, TritonConfiguration, TritonPlatform
from ..pbtxt import ModelConfig, new_config
from .policies import set_policies
from .schedulers import add_instance_groups, set_dynamic_batching, set_sequence_batching
from .tensor_fields import add_batch_tensors, add_tensors

if TYPE_CHECKING:
    from ...backend.interface.interface import Interface, TensorSpec

_BACKENDS = {TritonPlatform.WasmABI: "wasm", TritonPlatform.Python: "python"}
# What a module's interface says and Triton's configuration has no field for, as parameters of the backend.
_PARAMETERS = ("entry", "convention", "signature", "args", "returns")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model to be: its name, and the interface of its module, where that is known and what the spec says of it."""

    name: str
    interface: Interface | None
    declared: ModuleInterface


def runs_wasm(config: TritonConfiguration) -> bool:
    """Whether the model runs in portalis's own backend, whose rules then hold."""
    return not isinstance(config.platform, CustomPlatform)


def backend_name(config: TritonConfiguration) -> str:
    """The backend that Triton loads."""
    platform = config.platform
    return platform.Custom if isinstance(platform, CustomPlatform) else _BACKENDS[platform]


def build_model_config(model: ModelSource, given: TritonConfiguration) -> ModelConfig:
    """What `given` says, completed from the module's interface: nothing is left for the server to guess."""
    interface = model.interface
    config = new_config(name=model.name, backend=backend_name(given))
    config.max_batch_size = _batch_size(given, interface)
    apart = given.sequence_batching.own_tensors if given.sequence_batching is not None else set()
    inputs, outputs = (given.inputs, given.outputs)
    if interface is not None:
        inputs = inputs or tuple(_input(spec) for spec in interface.inputs if spec.name not in apart)
        outputs = outputs or tuple(_output(spec) for spec in interface.outputs if spec.name not in apart)
    add_tensors(config, inputs, outputs)
    add_batch_tensors(config, given.batch_inputs, given.batch_outputs)
    add_instance_groups(config, given.instance_groups or ((InstanceGroup(),) if runs_wasm(given) else ()))
    if given.sequence_batching is not None:
        set_sequence_batching(config, given.sequence_batching)
    if given.dynamic_batching is not None:
        set_dynamic_batching(config, given.dynamic_batching)
    elif config.max_batch_size and given.sequence_batching is None and runs_wasm(given):
        set_dynamic_batching(config, DynamicBatchingConfig())  # as the backend itself completes a configuration
    set_policies(config, given)
    for key, text in {**_parameters(model.declared), **given.backend_parameters}.items():
        config.parameters[key].string_value = text
    return config


def _batch_size(given: TritonConfiguration, interface: Interface | None) -> int:
    if given.max_batch_size is not None:
        return given.max_batch_size
    return interface.max_batch_size if interface is not None else 0


def _input(spec: TensorSpec) -> ModelInput:
    return ModelInput(name=spec.name, data_type=_data_type(spec), dims=spec.dims or (1,), optional=spec.optional)


def _output(spec: TensorSpec) -> ModelOutput:
    return ModelOutput(name=spec.name, data_type=_data_type(spec), dims=spec.dims or (1,))


def _data_type(spec: TensorSpec) -> DataType:
    return DataType(spec.dtype.name)


def _parameters(declared: ModuleInterface) -> dict[str, str]:
    """The ``wasm.`` parameters for what the spec declares of a module that does not say it itself."""
    said = {key: getattr(declared, key) for key in _PARAMETERS}
    texts = {key: json.dumps(list(value)) if key == "args" else str(value) for key, value in said.items() if value}
    return {f"wasm.{key}": text for key, text in texts.items()}


def build_ensemble_config(ensemble: Ensemble, models: Mapping[str, str]) -> ModelConfig:
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
