"""Sets a model's schedulers: the sequence batcher, the dynamic batcher, instance groups and their rate limiter."""

from __future__ import annotations

from collections.abc import Iterable

from ...spec.model_tensors import DataType
from ...spec.scheduling import (
    ControlInput,
    ControlType,
    DirectScheduling,
    DynamicBatchingConfig,
    OldestScheduling,
    QueuePolicy,
    SequenceBatchingConfig,
    SequenceState,
)
from ...spec.triton import InstanceGroup, RateLimiter
from ..pbtxt import Message, ModelConfig, model_config_schema

_KINDS = {
    ControlType.Start: "CONTROL_SEQUENCE_START",
    ControlType.Ready: "CONTROL_SEQUENCE_READY",
    ControlType.End: "CONTROL_SEQUENCE_END",
    ControlType.CorrelationId: "CONTROL_SEQUENCE_CORRID",
}
_FLAGS = {DataType.FP32: "fp32_false_true", DataType.BOOL: "bool_false_true"}


def set_sequence_batching(config: ModelConfig, batching: SequenceBatchingConfig) -> None:
    """Turn on sequence batching, which sends all requests of a sequence to one instance."""
    target = config.sequence_batching
    target.SetInParent()
    target.max_sequence_idle_microseconds = batching.max_sequence_idle_microseconds
    target.iterative_sequence = batching.iterative_sequence
    for control in batching.control_inputs:
        _add_control(target, control)
    for state in batching.states:
        _add_state(target, state)
    if batching.oldest is not None:
        _set_oldest(target.oldest, batching.oldest)
    elif batching.direct is not None:
        _set_direct(target.direct, batching.direct)


def _add_control(target: Message, source: ControlInput) -> None:
    control = target.control_input.add(name=source.name).control.add(kind=_KINDS[source.control_type])
    if source.control_type is ControlType.CorrelationId:
        control.data_type = model_config_schema().DataType.Value((source.data_type or DataType.UINT64).triton)
    else:
        # the values for false and for true
        getattr(control, _FLAGS.get(source.data_type or DataType.INT32, "int32_false_true")).extend([0, 1])


def _add_state(target: Message, source: SequenceState) -> None:
    data_type = source.data_type.triton
    state = target.state.add(
        input_name=source.name, output_name=source.output_name or source.name, data_type=data_type, dims=source.dims
    )
    dims = [abs(size) for size in source.dims]  # an initial state has fixed dims: 1 for a variable dim
    initial = state.initial_state.add(name=f"initial {source.name}", data_type=data_type, dims=dims)
    if source.initial_state_file is None:
        initial.zero_data = True
    else:
        initial.data_file = source.initial_state_file.name


def _set_oldest(target: Message, oldest: OldestScheduling) -> None:
    target.max_candidate_sequences = oldest.max_candidate_sequences
    target.preferred_batch_size.extend(oldest.preferred_batch_size)
    target.max_queue_delay_microseconds = oldest.max_queue_delay_microseconds
    target.preserve_ordering = oldest.preserve_ordering


def _set_direct(target: Message, direct: DirectScheduling) -> None:
    target.SetInParent()
    target.max_queue_delay_microseconds = direct.max_queue_delay_microseconds
    target.minimum_slot_utilization = direct.minimum_slot_utilization


def set_dynamic_batching(config: ModelConfig, batching: DynamicBatchingConfig) -> None:
    """Turn on dynamic batching, which joins requests into batches."""
    target = config.dynamic_batching
    target.SetInParent()  # the batcher is on even if no other field is set
    target.preferred_batch_size.extend(batching.preferred_batch_size)
    target.max_queue_delay_microseconds = batching.max_queue_delay_microseconds
    target.preserve_ordering = batching.preserve_ordering
    target.priority_levels = batching.priority_levels
    target.default_priority_level = batching.default_priority_level
    if batching.default_queue_policy is not None:
        _set_policy(target.default_queue_policy, batching.default_queue_policy)
    for level, policy in batching.priority_queue_policy.items():
        _set_policy(target.priority_queue_policy[int(level)], policy)


def _set_policy(target: Message, policy: QueuePolicy) -> None:
    target.SetInParent()
    target.timeout_action = type(target).TimeoutAction.Value(policy.timeout_action.value)
    target.default_timeout_microseconds = policy.default_timeout_microseconds
    target.allow_timeout_override = policy.allow_timeout_override
    target.max_queue_size = policy.max_queue_size


def add_instance_groups(config: ModelConfig, groups: Iterable[InstanceGroup]) -> None:
    """Add instance groups, which set the number of instances and their devices."""
    for source in groups:
        group = config.instance_group.add(kind=f"KIND_{source.kind}", count=source.count, passive=source.passive)
        group.name = source.name or ""
        group.gpus.extend(source.gpus or ())
        if source.host_policy is not None:
            group.host_policy = source.host_policy
        if source.rate_limiter is not None:
            _limit(group.rate_limiter, source.rate_limiter)


def _limit(target: Message, limiter: RateLimiter) -> None:
    target.SetInParent()
    target.priority = limiter.priority
    for resource in limiter.resources:
        # `global` is a keyword of Python
        target.resources.add(**{"name": resource.name, "count": resource.count, "global": resource.is_global})
