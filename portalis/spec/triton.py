"""Triton models (requirements 2.3), and what Triton has beyond the requirements."""

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
    """What runs the module: the `wasm` backend of the server, or a Python model that carries the runtime along."""

    WasmABI = "WasmABI"
    Python = "Python"


class CustomPlatform(Structure):
    """A backend of one's own by its name, written ``{ Custom = "name" }``."""

    Custom: NonEmpty


Platform = Annotated[Annotated[TritonPlatform, Tag(WORD)] | Annotated[CustomPlatform, Tag(TABLE)], BY_FORM]


class InstanceKind(Choice):
    """Where instances run."""

    CPU = "CPU"
    GPU = "GPU"
    AUTO = "AUTO"
    MODEL = "MODEL"


class RateLimiterResource(Structure):
    """What an instance holds while it runs."""

    name: NonEmpty
    count: Positive
    is_global: bool = False
    """Whether all devices share it."""


class RateLimiter(Structure):
    """When an instance may run, where the server runs with ``--rate-limit=execution_count``."""

    resources: tuple[RateLimiterResource, ...] = ()
    priority: U32 = 0


class InstanceGroup(Structure):
    """Instances of a model that run alike."""

    name: NonEmpty | None = None
    kind: InstanceKind = InstanceKind.CPU
    count: I32Positive = 1
    gpus: tuple[I32, ...] | None = None
    """The GPUs to use, for the kind GPU; all of them when not given."""
    passive: bool = False
    host_policy: NonEmpty | None = None
    rate_limiter: RateLimiter | None = None


class OptimizationConfig(Structure):
    """What Triton and a backend may do to be faster."""

    graph_optimization: bool = False
    graph_level: I32Positive = 1
    """The level asked for with `graph_optimization`."""
    cuda_graphs: bool = False
    gather_kernel_buffer_threshold: U64 = 0
    eager_batching: bool = False


class LatestVersions(Structure):
    """The newest versions, written ``{ Latest = 2 }``."""

    Latest: Positive


class VersionPolicyType(Choice):
    """Which versions are served."""

    All = "All"
    Specific = "Specific"


Policy = Annotated[Annotated[VersionPolicyType, Tag(WORD)] | Annotated[LatestVersions, Tag(TABLE)], BY_FORM]


class VersionPolicy(Structure):
    """Which versions are served: the newest, all, or the listed ones."""

    policy: Policy = LatestVersions(Latest=1)
    versions: tuple[Positive, ...] | None = None
    """The versions that the policy ``Specific`` serves."""


class ModelTransactionPolicy(Structure):
    """How many responses a request gets."""

    decoupled: bool = False


class MetricControl(Structure):
    """The buckets of one of Triton's histograms."""

    metric_family: NonEmpty
    buckets: Annotated[tuple[float, ...], Field(min_length=1)]


class EnsembleStep(Structure):
    """One model of the chain. The maps go from the model's tensor to the ensemble's, as in Triton."""

    model_name: NonEmpty
    model_version: Annotated[int, Field(ge=-1, le=U32_MAX)] = -1
    """-1 is the newest."""
    input_map: Annotated[dict[NonEmpty, NonEmpty], Field(min_length=1)]
    output_map: Annotated[dict[NonEmpty, NonEmpty], Field(min_length=1)]


class Ensemble(Structure):
    """A model made of others."""

    name: NonEmpty
    version: Positive = 1
    max_batch_size: I32 = 0
    inputs: Annotated[tuple[ModelInput, ...], Field(min_length=1)]
    outputs: Annotated[tuple[ModelOutput, ...], Field(min_length=1)]
    steps: Annotated[tuple[EnsembleStep, ...], Field(min_length=1)]


class TritonConfiguration(Structure):
    """The models of a package. What a module sets itself (``wasm_binaries[].triton_config``) goes before it."""

    model_repository_path: InsideOutput = InsideOutput("triton")
    """The model repository, inside the output directory."""
    model_name: NonEmpty | None = None
    """For a package of one module; else the package's name, an underscore and the module's."""
    model_version: Positive = 1
    keep_versions: bool = False
    """Whether versions of the same models that an earlier run put into the output directory are kept."""
    platform: Platform = TritonPlatform.WasmABI
    max_batch_size: I32 | None = None
    """0 for no batching; what the module's interface says when not given."""
    instance_groups: tuple[InstanceGroup, ...] = ()
    inputs: tuple[ModelInput, ...] = ()
    """From the module's interface when not given."""
    outputs: tuple[ModelOutput, ...] = ()
    """From the module's interface when not given."""
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
    """Models that chain others of this package."""
