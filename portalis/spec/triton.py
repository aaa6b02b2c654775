"""Triton models (requirements 2.3), and further settings of Triton."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Tag

from .base import (
    BY_FORM,
    I32,
    TABLE,
    U32,
    U32_MAX,
    U64,
    WORD,
    Choice,
    I32Positive,
    InsideOutput,
    NonEmpty,
    Positive,
    Structure,
)
from .model_tensors import BatchInput, BatchOutput, ModelInput, ModelOutput
from .scheduling import DynamicBatchingConfig, ModelWarmup, SequenceBatchingConfig


class TritonPlatform(Choice):
    """The backend of a model: the server's `wasm` backend, or a Python model that includes the runtime."""

    WasmABI = "WasmABI"
    Python = "Python"


class CustomPlatform(Structure):
    """A custom backend, written ``{ Custom = "name" }``."""

    Custom: NonEmpty


Platform = Annotated[Annotated[TritonPlatform, Tag(WORD)] | Annotated[CustomPlatform, Tag(TABLE)], BY_FORM]


class InstanceKind(Choice):
    """The device of instances."""

    CPU = "CPU"
    GPU = "GPU"
    AUTO = "AUTO"
    MODEL = "MODEL"


class RateLimiterResource(Structure):
    """A resource that an instance holds during execution."""

    name: NonEmpty
    count: Positive
    is_global: bool = False
    """Whether all devices share the resource."""


class RateLimiter(Structure):
    """The conditions for an instance to run, if the server has ``--rate-limit=execution_count``."""

    resources: tuple[RateLimiterResource, ...] = ()
    priority: U32 = 0


class InstanceGroup(Structure):
    """Instances of a model with the same settings."""

    name: NonEmpty | None = None
    kind: InstanceKind = InstanceKind.CPU
    count: I32Positive = 1
    gpus: tuple[I32, ...] | None = None
    """The GPUs to use, for the kind GPU; by default all of them."""
    passive: bool = False
    host_policy: NonEmpty | None = None
    rate_limiter: RateLimiter | None = None


class OptimizationConfig(Structure):
    """Optimizations of Triton and of a backend."""

    graph_optimization: bool = False
    graph_level: I32Positive = 1
    """The level of `graph_optimization`."""
    cuda_graphs: bool = False
    gather_kernel_buffer_threshold: U64 = 0
    eager_batching: bool = False


class LatestVersions(Structure):
    """The newest versions, written ``{ Latest = 2 }``."""

    Latest: Positive


class VersionPolicyType(Choice):
    """The versions to serve."""

    All = "All"
    Specific = "Specific"


Policy = Annotated[Annotated[VersionPolicyType, Tag(WORD)] | Annotated[LatestVersions, Tag(TABLE)], BY_FORM]


class VersionPolicy(Structure):
    """The versions to serve: the newest, all, or the listed ones."""

    policy: Policy = LatestVersions(Latest=1)
    versions: tuple[Positive, ...] | None = None
    """The versions for the policy ``Specific``."""


class ModelTransactionPolicy(Structure):
    """The number of responses to a request."""

    decoupled: bool = False


class MetricControl(Structure):
    """The buckets of one of Triton's histograms."""

    metric_family: NonEmpty
    buckets: Annotated[tuple[float, ...], Field(min_length=1)]


class EnsembleStep(Structure):
    """A step of an ensemble. The maps go from the model's tensor to the ensemble's, as in Triton."""

    model_name: NonEmpty
    model_version: Annotated[int, Field(ge=-1, le=U32_MAX)] = -1
    """-1 means the newest version."""
    input_map: Annotated[dict[NonEmpty, NonEmpty], Field(min_length=1)]
    output_map: Annotated[dict[NonEmpty, NonEmpty], Field(min_length=1)]


class Ensemble(Structure):
    """A model that consists of other models."""

    name: NonEmpty
    version: Positive = 1
    max_batch_size: I32 = 0
    inputs: Annotated[tuple[ModelInput, ...], Field(min_length=1)]
    outputs: Annotated[tuple[ModelOutput, ...], Field(min_length=1)]
    steps: Annotated[tuple[EnsembleStep, ...], Field(min_length=1)]


class TritonConfiguration(Structure):
    """The models of a package. A module's own settings (``wasm_binaries[].triton_config``) override these."""

    model_repository_path: InsideOutput = InsideOutput("triton")
    """The model repository, inside the output directory."""
    model_name: NonEmpty | None = None
    """For a package of one module; by default the package's and the module's name, joined by an underscore."""
    model_version: Positive = 1
    keep_versions: bool = False
    """Whether to keep versions of the same models from an earlier run in the output directory."""
    platform: Platform = TritonPlatform.WasmABI
    max_batch_size: I32 | None = None
    """0 means no batching; by default the value of the module's interface."""
    instance_groups: tuple[InstanceGroup, ...] = ()
    inputs: tuple[ModelInput, ...] = ()
    """By default those of the module's interface."""
    outputs: tuple[ModelOutput, ...] = ()
    """By default those of the module's interface."""
    dynamic_batching: DynamicBatchingConfig | None = None
    sequence_batching: SequenceBatchingConfig | None = None
    backend_parameters: dict[NonEmpty, str] = Field(default_factory=dict)
    optimization: OptimizationConfig = OptimizationConfig()
    version_policy: VersionPolicy = VersionPolicy()
    batch_inputs: tuple[BatchInput, ...] = ()
    batch_outputs: tuple[BatchOutput, ...] = ()
    warmup: tuple[ModelWarmup, ...] = ()
    response_cache: bool = False
    model_transaction_policy: ModelTransactionPolicy | None = None
    metrics: tuple[MetricControl, ...] = ()
    ensembles: tuple[Ensemble, ...] = ()
    """Models that consist of other models of this package."""
