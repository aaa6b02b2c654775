"""How requests are gathered: dynamic batching, its priorities and queues; and what the response cache cannot serve."""

from __future__ import annotations

from collections.abc import Iterable

from ..pbtxt import Message, ModelConfig, enum_name
from .rule import Problems, RuleContext, error, warning

NO_DELAY = "Set timeout_action: REJECT, or preserve_ordering: false."


def check_batching(config: ModelConfig, context: RuleContext) -> Problems:
    if config.HasField("dynamic_batching"):
        where, batching = "dynamic_batching", config.dynamic_batching
        yield from preferred_sizes(batching.preferred_batch_size, config.max_batch_size, where)
        if config.max_batch_size == 0 and not context.auto_complete:
            said = "the model does not batch (max_batch_size is 0), so dynamic batching does nothing"
            yield warning(where, said, "Set max_batch_size, or leave dynamic_batching out.")
        yield from _priorities(batching, where)
        if batching.preserve_ordering:
            yield from _ordering(batching, where)
    yield from _response_cache(config)


def preferred_sizes(sizes: Iterable[int], most: int, where: str) -> Problems:
    """The problems of preferred batch sizes: those of dynamic batching, and of sequences oldest first."""
    for i, size in enumerate(sizes):
        at = f"{where}.preferred_batch_size[{i}]"
        if size < 1:
            yield error(at, f"it is {size}", "Use 1 or more.")
        elif size > most:
            said = f"it is {size}, above max_batch_size, which is {most}"
            yield error(at, said, "Lower it, or raise max_batch_size.")


def _priorities(batching: Message, where: str) -> Problems:
    levels, default, policies = (
        batching.priority_levels,
        batching.default_priority_level,
        batching.priority_queue_policy,
    )
    if levels == 0:
        for name, given in (("default_priority_level", default), ("priority_queue_policy", len(policies))):
            if given:
                said = "there are no priority levels, so it does nothing"
                yield warning(f"{where}.{name}", said, "Set priority_levels, or leave it out.")
        return
    if not 1 <= default <= levels:
        said = f"it is {default}, and there are {levels} priority levels"
        yield error(f"{where}.default_priority_level", said, f"Set a level from 1 to {levels}.")
    for level in sorted(policies):
        if not 1 <= level <= levels:
            said = f"there is no level {level} among {levels}"
            yield error(f"{where}.priority_queue_policy[{level}]", said, f"Use levels from 1 to {levels}.")


def _ordering(batching: Message, where: str) -> Problems:
    if batching.priority_levels > 1:
        said = f"answers cannot keep their order over {batching.priority_levels} priority levels"
        yield error(f"{where}.preserve_ordering", said, "Use one priority level, or preserve_ordering: false.")
    if _delays(batching.default_queue_policy):
        said = "a request that is delayed by its timeout cannot keep its place (preserve_ordering)"
        yield error(f"{where}.default_queue_policy", said, NO_DELAY)
    for level in sorted(batching.priority_queue_policy):
        if _delays(batching.priority_queue_policy[level]):
            said = "a request that is delayed by its timeout cannot keep its place (preserve_ordering)"
            yield error(f"{where}.priority_queue_policy[{level}]", said, NO_DELAY)


def _delays(policy: Message) -> bool:
    return bool(policy.default_timeout_microseconds) and enum_name(policy, "timeout_action") == "DELAY"


def _response_cache(config: ModelConfig) -> Problems:
    if not config.response_cache.enable:
        return
    if config.HasField("sequence_batching"):
        yield error("response_cache", "the response cache serves no sequences", "Leave response_cache out.")
    if config.model_transaction_policy.decoupled:
        yield error("response_cache", "the response cache serves no decoupled model", "Leave response_cache out.")
