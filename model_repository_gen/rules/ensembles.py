"""An ensemble by itself: what it may not have, and whether its tensors connect. Its models are `steps`' matter."""

from __future__ import annotations

from ..pbtxt import ModelConfig
from .rule import ENSEMBLE, Problems, RuleContext, error, warning

STEP = "ensemble_scheduling.step"


def check_ensemble(config: ModelConfig, context: RuleContext) -> Problems:
    if not config.HasField("ensemble_scheduling"):
        return
    if config.platform != ENSEMBLE:
        said = f"a model with steps has the platform {config.platform!r}"
        yield error("platform", said, 'Set platform: "ensemble" and no backend.')
    for name, given in (
        ("instance_group", len(config.instance_group)),
        ("optimization", config.HasField("optimization")),
        ("model_warmup", len(config.model_warmup)),
    ):
        if given:
            yield error(name, f"an ensemble has {name}", f"Set {name} in the models of the ensemble.")
    if not config.ensemble_scheduling.step:
        yield error(STEP, "there are no steps", "Add one for each model.")
        return
    broken = list(_steps(config))
    yield from broken
    if not broken:
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
                yield error(f"{where}.output_map", f"tensor {tensor!r} is written twice", "Give each output its own.")
            written.add(tensor)
        if step.model_version < -1:
            said = f"there is no version {step.model_version}"
            yield error(f"{where}.model_version", said, "Set -1 for the latest version.")
        elif step.model_version == 0:
            said = "it asks for version 0 (protobuf's default where it is left out)"
            yield warning(f"{where}.model_version", said, "Set -1 for the latest version.")


def _flow(config: ModelConfig) -> Problems:
    """Whether every tensor is written, by a request or a step, and used, by a step or as an output."""
    steps = config.ensemble_scheduling.step
    read = {tensor for step in steps for tensor in step.input_map.values()}
    written = {tensor for step in steps for tensor in step.output_map.values()}
    outputs = {tensor.name for tensor in config.output}
    ready = {tensor.name for tensor in config.input}
    for i, tensor in enumerate(config.input):
        if tensor.name not in read | written:
            said = f"no step uses the ensemble's input {tensor.name!r}"
            yield error(f"input[{i}].name", said, "Map it in a step, or take it out.")
    growing = True
    while growing:
        found = {t for s in steps if ready.issuperset(s.input_map.values()) for t in s.output_map.values()}
        growing = not found <= ready
        ready |= found
    for i, tensor in enumerate(config.output):
        if tensor.name not in ready:
            said = f"the ensemble's output {tensor.name!r} is not written: {_stuck(config, ready)}"
            yield error(f"output[{i}].name", said, "Map it in a step whose inputs are all written.")
    lost = sorted((read | written) - outputs)
    for name in lost:
        if name not in ready and name not in written:
            yield error(STEP, f"nothing writes tensor {name!r}", "Make it an input of the ensemble, or of a step.")
        elif name not in read:
            yield error(STEP, f"nothing uses tensor {name!r}", "Take it out of the output_map, or make it an output.")
        elif name not in ready and ready >= outputs:
            yield error(STEP, f"tensor {name!r} is never ready: {_stuck(config, ready)}", "Connect its step.")


def _stuck(config: ModelConfig, ready: set[str]) -> str:
    for step in config.ensemble_scheduling.step:
        missing = sorted(set(step.input_map.values()) - ready)
        if missing:
            return f"model {step.model_name!r} waits for {missing[0]!r}"
    return "no step has it in its output_map"
