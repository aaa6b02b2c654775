"""Models as clients see them: through a service container, and through Triton."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..contracts.artifacts import TritonModelArtifact
from ..output.package_layout import model_name
from ..service_ensembles import service_ensembles
from ..spec import PackageSpec
from ..spec.container import WasmRuntime
from ..spec.model_tensors import DataType, ModelInput, ModelOutput
from ..spec.scheduling import SequenceBatchingConfig
from ..target import Job, Module

if TYPE_CHECKING:
    from ..backend.interface.interface import Interface, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiTensor:
    """An input or output of a model."""

    name: str
    datatype: str
    """The name in the Open Inference Protocol."""
    shape: tuple[int, ...]
    """The dimensions, with the batch dimension if the model has one; -1 is any size."""
    optional: bool = False

    @property
    def smallest_shape(self) -> tuple[int, ...]:
        """The shape with size 1 for each dimension of any size."""
        return tuple(1 if size == -1 else size for size in self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiModel:
    """A model, with the name that requests use."""

    name: str
    version: str
    description: str
    max_batch_size: int
    inputs: tuple[ApiTensor, ...]
    outputs: tuple[ApiTensor, ...]
    sequence_id: int | str | None = None
    """An example of a sequence id, if requests belong to sequences: Triton rejects a request without one."""

    @property
    def required_inputs(self) -> tuple[ApiTensor, ...]:
        """The inputs that every request must have."""
        return tuple(tensor for tensor in self.inputs if not tensor.optional)


def service_model(module: Module) -> ApiModel | None:
    """The model of a module in a service container; None if the module's interface is unknown."""
    interface = module.inspection.interface
    if interface is None:
        return None
    return ApiModel(
        name=module.name,
        version="1",
        description=_description(module),
        max_batch_size=interface.max_batch_size,
        inputs=_tensors(interface.inputs, interface.max_batch_size),
        outputs=_tensors(interface.outputs, interface.max_batch_size),
    )


def is_in_image(spec: PackageSpec, module: Module) -> bool:
    """Whether service images contain the module: other runtimes than Wasmtime run WASI commands only."""
    interface = module.inspection.interface
    only_commands = spec.container_config.wasm_runtime is not WasmRuntime.Wasmtime
    return interface is not None and not (only_commands and interface.convention.value != "command")


def ensemble_models(job: Job) -> tuple[ApiModel, ...]:
    """The ensembles in the image of a package. Images of a single module contain none."""
    if not job.spec.container_config.package_image:
        return ()
    modules = [module.name for module in job.modules if is_in_image(job.spec, module)]
    return tuple(
        ApiModel(
            name=each.name,
            version=str(each.version),
            description="",
            max_batch_size=each.max_batch_size,
            inputs=_declared_tensors(each.inputs, each.max_batch_size),
            outputs=_declared_tensors(each.outputs, each.max_batch_size),
        )
        for each in service_ensembles(job.spec, modules).served
    )


def triton_models(job: Job) -> tuple[ApiModel, ...]:
    """The generated Triton models whose tensors are known."""
    modules = {model_name(job.spec, module.binary): module for module in job.modules}
    ensembles = {ensemble.name: ensemble for ensemble in job.spec.triton_config.ensembles}
    models = []
    for artifact in job.artifacts.triton_models:
        if artifact.model_name in modules:
            models.append(_module_model(job.spec, artifact, modules[artifact.model_name]))
        elif artifact.model_name in ensembles:
            ensemble = ensembles[artifact.model_name]
            models.append(_model(artifact, "", ensemble.inputs, ensemble.outputs))
    return tuple(model for model in models if model.inputs and model.outputs)


def _module_model(spec: PackageSpec, artifact: TritonModelArtifact, module: Module) -> ApiModel:
    config, interface = spec.triton_for(module.binary), module.inspection.interface
    sequences = config.sequence_batching
    inputs, outputs = config.inputs, config.outputs
    if interface is not None:
        excluded = sequences.own_tensors if sequences is not None else set()
        inputs = inputs or _triton_inputs(interface.inputs, excluded)
        outputs = outputs or tuple(
            ModelOutput(name=each.name, data_type=each.data_type, dims=each.dims)
            for each in _triton_inputs(interface.outputs, excluded)
        )
    return _model(artifact, _description(module), inputs, outputs, _sequence_id(sequences))


def _sequence_id(sequences: SequenceBatchingConfig | None) -> int | str | None:
    if sequences is None:
        return None
    is_string = any(control.data_type is DataType.STRING for control in sequences.control_inputs)
    return "1" if is_string else 1


def _model(
    artifact: TritonModelArtifact,
    description: str,
    inputs: Iterable[ModelInput],
    outputs: Iterable[ModelOutput],
    sequence_id: int | str | None = None,
) -> ApiModel:
    return ApiModel(
        name=artifact.model_name,
        version=str(artifact.model_version),
        description=description,
        max_batch_size=artifact.max_batch_size,
        sequence_id=sequence_id,
        inputs=_declared_tensors(inputs, artifact.max_batch_size),
        outputs=_declared_tensors(outputs, artifact.max_batch_size),
    )


def _declared_tensors(tensors: Iterable[ModelInput | ModelOutput], max_batch_size: int) -> tuple[ApiTensor, ...]:
    batch = (-1,) if max_batch_size else ()
    return tuple(
        ApiTensor(
            name=each.name,
            datatype=_datatype(each.data_type),
            shape=batch + each.dims,
            optional=isinstance(each, ModelInput) and each.optional,
        )
        for each in tensors
    )


def _triton_inputs(specs: Iterable[TensorSpec], excluded: set[str]) -> tuple[ModelInput, ...]:
    return tuple(
        # Triton has no scalars: they get a dimension of size 1
        ModelInput(name=s.name, data_type=DataType(s.dtype.name), dims=s.dims or (1,), optional=s.optional)
        for s in specs
        if s.name not in excluded
    )


def _tensors(specs: tuple[TensorSpec, ...], max_batch_size: int) -> tuple[ApiTensor, ...]:
    batch = (-1,) if max_batch_size else ()
    return tuple(
        ApiTensor(name=s.name, datatype=s.dtype.name, shape=batch + s.dims, optional=s.optional) for s in specs
    )


def _datatype(data_type: DataType) -> str:
    return "BYTES" if data_type is DataType.STRING else data_type.value


def _description(module: Module) -> str:
    interface: Interface | None = module.inspection.interface
    return module.binary.description or (interface.description if interface is not None else "")
