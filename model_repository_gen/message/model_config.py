"""Builds the configuration of a model that runs one module, and of an ensemble."""

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
# Keys of a module's interface that Triton's configuration has no field for; parameters of the backend carry them.
_PARAMETERS = ("entry", "convention", "signature", "args", "returns")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """The source of a model: its name, its module's interface, and the interface keys that the spec declares."""

    name: str
    interface: Interface | None
    """The module's interface, if it is known."""
    declared: ModuleInterface


def runs_wasm(config: TritonConfiguration) -> bool:
    """Whether the model runs in portalis's own backend, so that the backend's rules apply."""
    return not isinstance(config.platform, CustomPlatform)


def backend_name(config: TritonConfiguration) -> str:
    """The name of the backend that Triton loads."""
    platform = config.platform
    return platform.Custom if isinstance(platform, CustomPlatform) else _BACKENDS[platform]


def build_model_config(model: ModelSource, settings: TritonConfiguration) -> ModelConfig:
    """The configuration for `settings`, completed from the module's interface, so that the server infers nothing."""
    interface = model.interface
    config = new_config(name=model.name, backend=backend_name(settings))
    config.max_batch_size = _batch_size(settings, interface)
    control_tensors = settings.sequence_batching.own_tensors if settings.sequence_batching is not None else set()
    inputs, outputs = (settings.inputs, settings.outputs)
    if interface is not None:
        inputs = inputs or tuple(_input(spec) for spec in interface.inputs if spec.name not in control_tensors)
        outputs = outputs or tuple(_output(spec) for spec in interface.outputs if spec.name not in control_tensors)
    add_tensors(config, inputs, outputs)
    add_batch_tensors(config, settings.batch_inputs, settings.batch_outputs)
    add_instance_groups(config, settings.instance_groups or ((InstanceGroup(),) if runs_wasm(settings) else ()))
    if settings.sequence_batching is not None:
        set_sequence_batching(config, settings.sequence_batching)
    if settings.dynamic_batching is not None:
        set_dynamic_batching(config, settings.dynamic_batching)
    elif config.max_batch_size and settings.sequence_batching is None and runs_wasm(settings):
        set_dynamic_batching(config, DynamicBatchingConfig())  # as the backend itself completes a configuration
    set_policies(config, settings)
    for key, text in {**_parameters(model.declared), **settings.backend_parameters}.items():
        config.parameters[key].string_value = text
    return config


def _batch_size(settings: TritonConfiguration, interface: Interface | None) -> int:
    if settings.max_batch_size is not None:
        return settings.max_batch_size
    return interface.max_batch_size if interface is not None else 0


def _input(spec: TensorSpec) -> ModelInput:
    return ModelInput(name=spec.name, data_type=_data_type(spec), dims=spec.dims or (1,), optional=spec.optional)


def _output(spec: TensorSpec) -> ModelOutput:
    return ModelOutput(name=spec.name, data_type=_data_type(spec), dims=spec.dims or (1,))


def _data_type(spec: TensorSpec) -> DataType:
    return DataType(spec.dtype.name)


def _parameters(declared: ModuleInterface) -> dict[str, str]:
    """The ``wasm.`` parameters for interface keys that the spec declares, which the module itself might lack."""
    values = {key: getattr(declared, key) for key in _PARAMETERS}
    texts = {key: json.dumps(list(value)) if key == "args" else str(value) for key, value in values.items() if value}
    return {f"wasm.{key}": text for key, text in texts.items()}


def build_ensemble_config(ensemble: Ensemble, models: Mapping[str, str]) -> ModelConfig:
    """The configuration of `ensemble`. `models` maps module names, which a step can use, to model names."""
    config = new_config(name=ensemble.name, platform="ensemble", max_batch_size=ensemble.max_batch_size)
    add_tensors(config, ensemble.inputs, ensemble.outputs)
    for step in ensemble.steps:
        config.ensemble_scheduling.step.add(
            model_name=models.get(step.model_name, step.model_name),
            model_version=step.model_version,
            input_map=step.input_map,
            output_map=step.output_map,
        )
    return config
