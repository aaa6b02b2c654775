"""Rules for dynamic batching, its priority levels and queues, and for the response cache."""

from __future__ import annotations

from collections.abc import Iterable

from ..pbtxt import Message, ModelConfig, enum_name
from .rule import Problems, RuleContext, error, warning

_NO_DELAY = "Set timeout_action: REJECT, or preserve_ordering: false."
_DELAYED = "preserve_ordering does not allow a request to be delayed after its timeout (timeout_action: DELAY)"


def check_batching(config: ModelConfig, context: RuleContext) -> Problems:
    """Problems of the dynamic batcher and of the response cache."""
    if config.HasField("dynamic_batching"):
        where, batching = "dynamic_batching", config.dynamic_batching
        yield from preferred_sizes(batching.preferred_batch_size, config.max_batch_size, where)
        if config.max_batch_size == 0 and not context.auto_complete:
            message = "dynamic batching has no effect: the model does not batch (max_batch_size is 0)"
            yield warning(where, message, "Set max_batch_size, or remove dynamic_batching.")
        yield from _priorities(batching, where)
        if batching.preserve_ordering:
            yield from _ordering(batching, where)
    yield from _response_cache(config)


def preferred_sizes(sizes: Iterable[int], max_batch_size: int, where: str) -> Problems:
    """Problems of preferred batch sizes, for dynamic batching and for sequences with the oldest strategy."""
    for i, size in enumerate(sizes):
        loc = f"{where}.preferred_batch_size[{i}]"
        if size < 1:
            yield error(loc, f"expected at least 1, got {size}", "Use 1 or more.")
        elif size > max_batch_size:
            message = f"expected at most {max_batch_size} (max_batch_size), got {size}"
            yield error(loc, message, "Lower it, or raise max_batch_size.")


def _priorities(batching: Message, where: str) -> Problems:
    levels, default, policies = (
        batching.priority_levels,
        batching.default_priority_level,
        batching.priority_queue_policy,
    )
    if levels == 0:
        for name, value in (("default_priority_level", default), ("priority_queue_policy", len(policies))):
            if value:
                message = f"{name} has no effect: priority_levels is not set"
                yield warning(f"{where}.{name}", message, f"Set priority_levels, or remove {name}.")
        return
    if not 1 <= default <= levels:
        message = f"expected a level from 1 to {levels} (priority_levels), got {default}"
        yield error(f"{where}.default_priority_level", message, f"Set a level from 1 to {levels}.")
    for level in sorted(policies):
        if not 1 <= level <= levels:
            message = f"expected a level from 1 to {levels} (priority_levels), got {level}"
            yield error(f"{where}.priority_queue_policy[{level}]", message, f"Use levels from 1 to {levels}.")


def _ordering(batching: Message, where: str) -> Problems:
    if batching.priority_levels > 1:
        message = f"responses cannot keep their order with {batching.priority_levels} priority levels"
        yield error(f"{where}.preserve_ordering", message, "Use one priority level, or preserve_ordering: false.")
    if _delays(batching.default_queue_policy):
        yield error(f"{where}.default_queue_policy", _DELAYED, _NO_DELAY)
    for level in sorted(batching.priority_queue_policy):
        if _delays(batching.priority_queue_policy[level]):
            yield error(f"{where}.priority_queue_policy[{level}]", _DELAYED, _NO_DELAY)


def _delays(policy: Message) -> bool:
    return bool(policy.default_timeout_microseconds) and enum_name(policy, "timeout_action") == "DELAY"


def _response_cache(config: ModelConfig) -> Problems:
    if not config.response_cache.enable:
        return
    if config.HasField("sequence_batching"):
        yield error("response_cache", "the response cache does not support sequence batching", "Remove response_cache.")
    if config.model_transaction_policy.decoupled:
        yield error("response_cache", "the response cache does not support decoupled models", "Remove response_cache.")
