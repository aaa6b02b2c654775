"""Rules for instance groups: kinds, GPUs, and the resources that the rate limiter shares."""

from __future__ import annotations

from collections.abc import Iterable

from ..pbtxt import ModelConfig, enum_name
from .rule import Problems, RuleContext, error, warning


def check_instance_groups(config: ModelConfig, context: RuleContext) -> Problems:
    """Problems of the instance groups of a model that is not an ensemble."""
    if config.HasField("ensemble_scheduling"):
        return  # an ensemble must not have any: `check_ensemble`
    for i, group in enumerate(config.instance_group):
        where, kind = f"instance_group[{i}]", enum_name(group, "kind")
        gpus = list(group.gpus)
        if kind.isdigit():
            yield error(f"{where}.kind", f"unknown kind {kind}", "Use KIND_CPU, KIND_GPU, KIND_AUTO or KIND_MODEL.")
        if gpus and kind in ("KIND_CPU", "KIND_MODEL"):
            yield error(f"{where}.gpus", f"a group of {kind} cannot list GPUs", "Remove gpus, or set KIND_GPU.")
        elif gpus and min(gpus) < 0:
            yield error(
                f"{where}.gpus",
                f"expected GPU numbers of 0 or more, got {min(gpus)}",
                "Count from 0, or remove gpus to use all GPUs.",
            )
        elif gpus and kind == "KIND_AUTO":
            # Triton turns the group into KIND_CPU if the GPUs are missing, and then rejects the list
            message = "a server without these GPUs rejects KIND_AUTO with gpus"
            yield warning(f"{where}.gpus", message, "Remove gpus, so that the group falls back to the CPU.")
        if group.count < 0:
            message = f"expected a positive number, got {group.count}; Triton creates one instance"
            yield warning(f"{where}.count", message, "Set 1 or more, or remove it.")
        if group.profile and config.backend != "tensorrt" and config.platform != "tensorrt_plan":
            yield error(f"{where}.profile", "only TensorRT supports profiles", "Remove profile.")
    if config.instance_group and all(group.passive for group in config.instance_group):
        message = "every instance group is passive: the model loads, but never answers a request"
        yield warning("instance_group", message, "Make one of them active.")
    yield from mixed_resources([("", config)])


def mixed_resources(configs: Iterable[tuple[str, ModelConfig]]) -> Problems:
    """Problems of resources that are both global and per device in these (prefix, configuration) pairs.

    Triton reports them only if its rate limiter is on (``--rate-limit=execution_count``), and over all models together.
    """
    first: dict[str, tuple[str, str]] = {}
    for prefix, config in configs:
        for i, group in enumerate(config.instance_group):
            for j, resource in enumerate(group.rate_limiter.resources):
                where = f"instance_group[{i}].rate_limiter.resources[{j}]"
                scope = "global" if getattr(resource, "global") else "per device"
                other, earlier = first.setdefault(resource.name, (scope, prefix + where))
                if scope != other:
                    message = f"resource {resource.name!r} is {scope} here and {other} in {earlier}"
                    yield error(where, message, "Use the same scope everywhere, or two different names.")
