"""Sets a model's optimization, version policy, response cache, transaction policy, metrics and warm-up."""

from __future__ import annotations

from collections.abc import Iterable

from typing_extensions import assert_never

from ...spec.scheduling import ModelWarmup
from ...spec.triton import (
    LatestVersions,
    MetricControl,
    OptimizationConfig,
    TritonConfiguration,
    VersionPolicy,
    VersionPolicyType,
)
from ..pbtxt import ModelConfig, model_config_schema


def set_policies(config: ModelConfig, settings: TritonConfiguration) -> None:
    """Set all policies of `settings` in `config`."""
    _set_optimization(config, settings.optimization)
    _set_version_policy(config, settings.version_policy)
    if settings.response_cache:
        config.response_cache.enable = True
    if settings.model_transaction_policy is not None:
        config.model_transaction_policy.decoupled = settings.model_transaction_policy.decoupled
    _add_metrics(config, settings.metrics)
    _add_warmup(config, settings.warmup)


def _set_optimization(config: ModelConfig, optimization: OptimizationConfig) -> None:
    if optimization.graph_optimization:
        config.optimization.graph.level = optimization.graph_level
    if optimization.cuda_graphs:
        config.optimization.cuda.graphs = True
    if optimization.gather_kernel_buffer_threshold:
        config.optimization.gather_kernel_buffer_threshold = optimization.gather_kernel_buffer_threshold
    if optimization.eager_batching:
        config.optimization.eager_batching = True


def _set_version_policy(config: ModelConfig, version_policy: VersionPolicy) -> None:
    policy = version_policy.policy
    if isinstance(policy, LatestVersions):
        config.version_policy.latest.num_versions = policy.Latest
    elif policy is VersionPolicyType.All:
        config.version_policy.all.SetInParent()
    elif policy is VersionPolicyType.Specific:
        config.version_policy.specific.versions.extend(version_policy.versions or ())
    else:
        assert_never(policy)


def _add_metrics(config: ModelConfig, metrics: Iterable[MetricControl]) -> None:
    for metric in metrics:
        control = config.model_metrics.metric_control.add()
        control.metric_identifier.family = metric.metric_family
        control.histogram_options.buckets.extend(metric.buckets)


def _add_warmup(config: ModelConfig, samples: Iterable[ModelWarmup]) -> None:
    for warmup in samples:
        sample = config.model_warmup.add(name=warmup.name, batch_size=warmup.batch_size, count=warmup.count)
        for name, tensor in warmup.inputs.items():
            target = sample.inputs[name]
            target.data_type = model_config_schema().DataType.Value(tensor.data_type.triton)
            target.dims.extend(tensor.dims)
            if tensor.input_data_file is not None:
                target.input_data_file = tensor.input_data_file.name
            elif tensor.random_data:
                target.random_data = True
            else:
                target.zero_data = True
