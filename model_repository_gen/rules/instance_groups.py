"""Instance groups: kinds, GPUs, and the resources that the rate limiter shares out."""

from __future__ import annotations

from collections.abc import Iterable

from ..pbtxt import ModelConfig, enum_name
from .rule import Problems, RuleContext, error, warning


def check_instance_groups(config: ModelConfig, context: RuleContext) -> Problems:
    if config.HasField("ensemble_scheduling"):
        return  # it may have none: see the rules of ensembles
    for i, group in enumerate(config.instance_group):
        where, kind = f"instance_group[{i}]", enum_name(group, "kind")
        gpus = list(group.gpus)
        if kind.isdigit():
            yield error(f"{where}.kind", f"there is no kind {kind}", "Use KIND_CPU, KIND_GPU, KIND_AUTO or KIND_MODEL.")
        if gpus and kind in ("KIND_CPU", "KIND_MODEL"):
            yield error(f"{where}.gpus", f"a group of {kind} lists GPUs", "Leave gpus out, or set KIND_GPU.")
        elif gpus and min(gpus) < 0:
            yield error(f"{where}.gpus", f"there is no GPU {min(gpus)}", "Count from 0, or leave gpus out for all.")
        elif gpus and kind == "KIND_AUTO":
            # Triton makes it KIND_CPU without them, and then refuses the list
            said = "KIND_AUTO with gpus is refused by a server without these GPUs"
            yield warning(f"{where}.gpus", said, "Leave gpus out, and the group falls back to the CPU.")
        if group.count < 0:
            said = f"it is {group.count}, and Triton makes one instance"
            yield warning(f"{where}.count", said, "Set 1 or more, or leave it out.")
        if group.profile and config.backend != "tensorrt" and config.platform != "tensorrt_plan":
            yield error(f"{where}.profile", "profiles are TensorRT's", "Leave profile out.")
    if config.instance_group and all(group.passive for group in config.instance_group):
        said = "every instance group is passive, so the model loads and no request is ever answered"
        yield warning("instance_group", said, "Make one of them active.")
    yield from mixed_resources([("", config)])


def mixed_resources(configs: Iterable[tuple[str, ModelConfig]]) -> Problems:
    """The problems of resources that are both global and per device among these (prefix, configuration) pairs. Triton
    sees them only when its rate limiter is on (``--rate-limit=execution_count``), and over all models together."""
    first: dict[str, tuple[str, str]] = {}
    for prefix, config in configs:
        for i, group in enumerate(config.instance_group):
            for j, resource in enumerate(group.rate_limiter.resources):
                where = f"instance_group[{i}].rate_limiter.resources[{j}]"
                scope = "global" if getattr(resource, "global") else "per device"
                other, earlier = first.setdefault(resource.name, (scope, prefix + where))
                if scope != other:
                    said = f"resource {resource.name!r} is {scope} here and {other} in {earlier}"
                    yield error(where, said, "Make it one of them everywhere, or use two names.")
