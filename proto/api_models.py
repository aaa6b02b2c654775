"""The models as their clients see them: behind a service container, and behind Triton."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..contracts.artifacts import TritonModelArtifact
from ..output.package_layout import model_name
from ..spec import PackageSpec
from ..spec.container import WasmRuntime
from ..spec.model_tensors import DataType, ModelInput, ModelOutput
from ..spec.scheduling import SequenceBatchingConfig
from ..target import Job, Module

if TYPE_CHECKING:
    from ..backend.interface.interface import Interface, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiTensor:
    """A tensor. `shape` has the batch dimension, where there is one; -1 is any size. `datatype` is the protocol's."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False

    @property
    def smallest(self) -> tuple[int, ...]:
        """The smallest shape that it can have."""
        return tuple(1 if size == -1 else size for size in self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiModel:
    """A model by the name that requests use."""

    name: str
    version: str
    description: str
    max_batch_size: int
    inputs: tuple[ApiTensor, ...]
    outputs: tuple[ApiTensor, ...]
    sequence_id: int | str | None = None
    """An id of a sequence, where requests belong to sequences and Triton refuses one without."""

    @property
    def required(self) -> tuple[ApiTensor, ...]:
        """The inputs that a request has to have."""
        return tuple(tensor for tensor in self.inputs if not tensor.optional)


def service_model(module: Module) -> ApiModel | None:
    """The model of a service container; None where the module's interface is not known."""
    interface = module.inspection.interface
    if interface is None:
        return None
    return ApiModel(
        name=module.name,
        version="1",
        description=_description(module),
        max_batch_size=interface.max_batch_size,
        inputs=_of_interface(interface.inputs, interface.max_batch_size),
        outputs=_of_interface(interface.outputs, interface.max_batch_size),
    )


def is_in_image(spec: PackageSpec, module: Module) -> bool:
    """Whether a service image has the module: a runtime beside Wasmtime runs programs only."""
    interface = module.inspection.interface
    other = spec.container_config.wasm_runtime is not WasmRuntime.Wasmtime
    return interface is not None and not (other and interface.convention.value != "command")


def triton_models(job: Job) -> tuple[ApiModel, ...]:
    """Those of the models that were made whose tensors are known."""
    modules = {model_name(job.spec, module.binary): module for module in job.modules}
    ensembles = {ensemble.name: ensemble for ensemble in job.spec.triton_config.ensembles}
    found = []
    for artifact in job.artifacts.triton_models:
        if artifact.model_name in modules:
            found.append(_of_module(job.spec, artifact, modules[artifact.model_name]))
        elif artifact.model_name in ensembles:
            ensemble = ensembles[artifact.model_name]
            found.append(_model(artifact, "", ensemble.inputs, ensemble.outputs))
    return tuple(model for model in found if model.inputs and model.outputs)


def _of_module(spec: PackageSpec, artifact: TritonModelArtifact, module: Module) -> ApiModel:
    given, interface = spec.triton_for(module.binary), module.inspection.interface
    sequences = given.sequence_batching
    inputs, outputs = given.inputs, given.outputs
    if interface is not None:
        apart = sequences.own_tensors if sequences is not None else set()
        inputs = inputs or _given(interface.inputs, apart)
        outputs = outputs or tuple(
            ModelOutput(name=each.name, data_type=each.data_type, dims=each.dims)
            for each in _given(interface.outputs, apart)
        )
    return _model(artifact, _description(module), inputs, outputs, _sequence_id(sequences))


def _sequence_id(sequences: SequenceBatchingConfig | None) -> int | str | None:
    if sequences is None:
        return None
    texts = any(control.data_type is DataType.STRING for control in sequences.control_inputs)
    return "1" if texts else 1


def _model(
    artifact: TritonModelArtifact,
    text: str,
    inputs: Iterable[ModelInput],
    outputs: Iterable[ModelOutput],
    sequence_id: int | str | None = None,
) -> ApiModel:
    batch = (-1,) if artifact.max_batch_size else ()
    return ApiModel(
        name=artifact.model_name,
        version=str(artifact.model_version),
        description=text,
        max_batch_size=artifact.max_batch_size,
        sequence_id=sequence_id,
        inputs=tuple(
            ApiTensor(
                name=each.name, datatype=_datatype(each.data_type), shape=batch + each.dims, optional=each.optional
            )
            for each in inputs
        ),
        outputs=tuple(
            ApiTensor(name=each.name, datatype=_datatype(each.data_type), shape=batch + each.dims) for each in outputs
        ),
    )


def _given(specs: Iterable[TensorSpec], apart: set[str]) -> tuple[ModelInput, ...]:
    return tuple(
        # a model without dimensions of its own has one of size 1 in Triton
        ModelInput(name=s.name, data_type=DataType(s.dtype.name), dims=s.dims or (1,), optional=s.optional)
        for s in specs
        if s.name not in apart
    )


def _of_interface(specs: tuple[TensorSpec, ...], max_batch_size: int) -> tuple[ApiTensor, ...]:
    batch = (-1,) if max_batch_size else ()
    return tuple(
        ApiTensor(name=s.name, datatype=s.dtype.name, shape=batch + s.dims, optional=s.optional) for s in specs
    )


def _datatype(kind: DataType) -> str:
    return "BYTES" if kind is DataType.STRING else kind.value


def _description(module: Module) -> str:
    interface: Interface | None = module.inspection.interface
    return module.binary.description or (interface.description if interface is not None else "")
