"""Rules for an ensemble on its own: fields that it must not have, and whether its tensors connect.

`ensemble_steps` checks the ensemble against the models of its steps.
"""

from __future__ import annotations

from ..pbtxt import ModelConfig
from .rule import ENSEMBLE, Problems, RuleContext, error, warning

STEP = "ensemble_scheduling.step"


def check_ensemble(config: ModelConfig, context: RuleContext) -> Problems:
    """Problems of a configuration with ``ensemble_scheduling``."""
    if not config.HasField("ensemble_scheduling"):
        return
    if config.platform != ENSEMBLE:
        message = f"expected the platform 'ensemble' for a model with steps, got {config.platform!r}"
        yield error("platform", message, 'Set platform: "ensemble" and no backend.')
    for name, is_set in (
        ("instance_group", len(config.instance_group)),
        ("optimization", config.HasField("optimization")),
        ("model_warmup", len(config.model_warmup)),
    ):
        if is_set:
            yield error(name, f"an ensemble cannot have {name}", f"Set {name} in the models of the ensemble.")
    if not config.ensemble_scheduling.step:
        yield error(STEP, "expected at least one step, got none", "Add one step for each model.")
        return
    invalid_steps = list(_steps(config))
    yield from invalid_steps
    if not invalid_steps:
        yield from _flow(config)


def _steps(config: ModelConfig) -> Problems:
    written: set[str] = set()
    for i, step in enumerate(config.ensemble_scheduling.step):
        where = f"{STEP}[{i}]"
        if not step.model_name:
            yield error(f"{where}.model_name", "the step names no model", "Name a model of the repository.")
        for side in ("input_map", "output_map"):
            if not getattr(step, side):
                yield error(
                    f"{where}.{side}", f"the step has no {side}", "Map a tensor of the model to the ensemble's."
                )
        for name in sorted(step.output_map):
            tensor = step.output_map[name]
            if tensor in written:
                yield error(
                    f"{where}.output_map",
                    f"tensor {tensor!r} is written twice",
                    "Map each output to a different tensor.",
                )
            written.add(tensor)
        if step.model_version < -1:
            message = f"expected a version of 1 or more, or -1, got {step.model_version}"
            yield error(f"{where}.model_version", message, "Set -1 for the latest version.")
        elif step.model_version == 0:
            message = "the step requests version 0, which is protobuf's default if model_version is omitted"
            yield warning(f"{where}.model_version", message, "Set -1 for the latest version.")


def _flow(config: ModelConfig) -> Problems:
    """Tensors that neither a request nor a step writes, or that are neither read by a step nor an output."""
    steps = config.ensemble_scheduling.step
    read = {tensor for step in steps for tensor in step.input_map.values()}
    written = {tensor for step in steps for tensor in step.output_map.values()}
    outputs = {tensor.name for tensor in config.output}
    ready = {tensor.name for tensor in config.input}
    for i, tensor in enumerate(config.input):
        if tensor.name not in read | written:
            message = f"no step uses the ensemble's input {tensor.name!r}"
            yield error(f"input[{i}].name", message, "Map it in a step, or remove it.")
    growing = True
    while growing:
        produced = {t for s in steps if ready.issuperset(s.input_map.values()) for t in s.output_map.values()}
        growing = not produced <= ready
        ready |= produced
    for i, tensor in enumerate(config.output):
        if tensor.name not in ready:
            message = f"the ensemble's output {tensor.name!r} is never written: {_blocked_step(config, ready)}"
            yield error(f"output[{i}].name", message, "Map it in a step whose inputs are all written.")
    for name in sorted((read | written) - outputs):
        if name not in ready and name not in written:
            yield error(STEP, f"no step writes tensor {name!r}", "Make it an input of the ensemble, or of a step.")
        elif name not in read:
            yield error(STEP, f"no step uses tensor {name!r}", "Remove it from the output_map, or make it an output.")
        elif name not in ready and ready >= outputs:
            message = f"tensor {name!r} is never written: {_blocked_step(config, ready)}"
            yield error(STEP, message, "Connect the inputs of its step.")


def _blocked_step(config: ModelConfig, ready: set[str]) -> str:
    for step in config.ensemble_scheduling.step:
        missing = sorted(set(step.input_map.values()) - ready)
        if missing:
            return f"model {step.model_name!r} waits for {missing[0]!r}"
    return "no step has it in its output_map"
