"""Optimization, versions, responses, metrics and warm-up of a model."""

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


def set_policies(config: ModelConfig, given: TritonConfiguration) -> None:
    """All of them."""
    _set_optimization(config, given.optimization)
    _set_version_policy(config, given.version_policy)
    if given.response_cache:
        config.response_cache.enable = True
    if given.model_transaction_policy is not None:
        config.model_transaction_policy.decoupled = given.model_transaction_policy.decoupled
    _add_metrics(config, given.metrics)
    _add_warmup(config, given.warmup)


def _set_optimization(config: ModelConfig, given: OptimizationConfig) -> None:
    if given.graph_optimization:
        config.optimization.graph.level = given.graph_level
    if given.cuda_graphs:
        config.optimization.cuda.graphs = True
    if given.gather_kernel_buffer_threshold:
        config.optimization.gather_kernel_buffer_threshold = given.gather_kernel_buffer_threshold
    if given.eager_batching:
        config.optimization.eager_batching = True


def _set_version_policy(config: ModelConfig, given: VersionPolicy) -> None:
    policy = given.policy
    if isinstance(policy, LatestVersions):
        config.version_policy.latest.num_versions = policy.Latest
    elif policy is VersionPolicyType.All:
        config.version_policy.all.SetInParent()
    elif policy is VersionPolicyType.Specific:
        config.version_policy.specific.versions.extend(given.versions or ())
    else:
        assert_never(policy)


def _add_metrics(config: ModelConfig, metrics: Iterable[MetricControl]) -> None:
    for given in metrics:
        control = config.model_metrics.metric_control.add()
        control.metric_identifier.family = given.metric_family
        control.histogram_options.buckets.extend(given.buckets)


def _add_warmup(config: ModelConfig, samples: Iterable[ModelWarmup]) -> None:
    for given in samples:
        sample = config.model_warmup.add(name=given.name, batch_size=given.batch_size, count=given.count)
        for name, tensor in given.inputs.items():
            target = sample.inputs[name]
            target.data_type = model_config_schema().DataType.Value(tensor.data_type.triton)
            target.dims.extend(tensor.dims)
            if tensor.input_data_file is not None:
                target.input_data_file = tensor.input_data_file.name
            elif tensor.random_data:
                target.random_data = True
            else:
                target.zero_data = True
