"""The dynamic batcher and its queues."""

from __future__ import annotations

from ...spec.scheduling import DynamicBatchingConfig, QueuePolicy
from ..pbtxt import Message, ModelConfig


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
