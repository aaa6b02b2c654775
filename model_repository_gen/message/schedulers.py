"""The sequence batcher: what it tells a model of its sequence, and what it keeps for it."""

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
    """Keep the requests of a sequence together."""
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


def _add_control(target: Message, given: ControlInput) -> None:
    control = target.control_input.add(name=given.name).control.add(kind=_KINDS[given.control_type])
    if given.control_type is ControlType.CorrelationId:
        control.data_type = model_config_schema().DataType.Value((given.data_type or DataType.UINT64).triton)
    else:
        # what stands for "no" and for "yes"
        getattr(control, _FLAGS.get(given.data_type or DataType.INT32, "int32_false_true")).extend([0, 1])


def _add_state(target: Message, given: SequenceState) -> None:
    data_type = given.data_type.triton
    state = target.state.add(
        input_name=given.name, output_name=given.output_name or given.name, data_type=data_type, dims=given.dims
    )
    dims = [abs(size) for size in given.dims]  # the first state has a size of its own: 1 where any is taken
    first = state.initial_state.add(name=f"initial {given.name}", data_type=data_type, dims=dims)
    if given.initial_state_file is None:
        first.zero_data = True
    else:
        first.data_file = given.initial_state_file.name


def _set_oldest(target: Message, given: OldestScheduling) -> None:
    target.max_candidate_sequences = given.max_candidate_sequences
    target.preferred_batch_size.extend(given.preferred_batch_size)
    target.max_queue_delay_microseconds = given.max_queue_delay_microseconds
    target.preserve_ordering = given.preserve_ordering


def _set_direct(target: Message, given: DirectScheduling) -> None:
    target.SetInParent()
    target.max_queue_delay_microseconds = given.max_queue_delay_microseconds
    target.minimum_slot_utilization = given.minimum_slot_utilization


def set_dynamic_batching(config: ModelConfig, batching: DynamicBatchingConfig) -> None:
    """Gather requests into batches."""
    target = config.dynamic_batching
    target.SetInParent()  # with nothing else to say, it still turns the batcher on
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
    """Say how many instances run, and where."""
    for given in groups:
        group = config.instance_group.add(kind=f"KIND_{given.kind}", count=given.count, passive=given.passive)
        group.name = given.name or ""
        group.gpus.extend(given.gpus or ())
        if given.host_policy is not None:
            group.host_policy = given.host_policy
        if given.rate_limiter is not None:
            _limit(group.rate_limiter, given.rate_limiter)


def _limit(target: Message, given: RateLimiter) -> None:
    target.SetInParent()
    target.priority = given.priority
    for resource in given.resources:
        # `global` is a word of Python's
        target.resources.add(**{"name": resource.name, "count": resource.count, "global": resource.is_global})
