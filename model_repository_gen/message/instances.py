"""Instance groups and what the rate limiter counts for them."""

from __future__ import annotations

from collections.abc import Iterable

from ...spec.triton import InstanceGroup, RateLimiter
from ..pbtxt import Message, ModelConfig


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
