"""Problems of one model's ``triton_config`` that are not visible in Triton's `ModelConfig` message.

Triton would reject the settings or ignore them silently, or the message has no representation for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..naming import shell_problem
from ..problems import Problem
from ..spec.base import I32_MAX, I64_MAX, U32_MAX, U64_MAX
from ..spec.model_tensors import DataType, ModelOutput
from ..spec.scheduling import ControlType, SequenceBatchingConfig
from ..spec.triton import TritonConfiguration
from .message.model_config import runs_wasm
from .pbtxt import CONFIG_FILE
from .rules.model_folder import NOT_VERSIONS
from .rules.model_platform import SAFE_NAMES

_FLAG_TYPES = (None, DataType.INT32, DataType.FP32, DataType.BOOL)


def config_problems(config: TritonConfiguration, loc: str) -> Iterator[Problem]:
    """All problems of `config`, which is at `loc` in the spec."""
    yield from _python_based(config, loc)
    yield from _group_names(config, loc)
    yield from _exclusive_fields(config, loc)
    yield from _number_problems(config, loc)
    if config.sequence_batching is not None:
        yield from _flags(config.sequence_batching, f"{loc}.sequence_batching")
    yield from label_problems(config.outputs, f"{loc}.outputs")
    states = config.sequence_batching.states if config.sequence_batching is not None else ()
    warmup_files = (tensor.input_data_file for sample in config.warmup for tensor in sample.inputs.values())
    yield from _name_conflicts(warmup_files, f"{loc}.warmup")
    yield from _name_conflicts((each.initial_state_file for each in states), f"{loc}.sequence_batching.states")


def label_problems(outputs: Iterable[ModelOutput], loc: str) -> Iterator[Problem]:
    """Problems of label files, which are copied into the model's directory next to its other files."""
    files = [each.label_filename for each in outputs]
    yield from _name_conflicts(files, loc)
    for i, file in enumerate(files):
        if file is not None and (file.name in (CONFIG_FILE, *NOT_VERSIONS) or file.name.isdecimal()):
            yield Problem(
                where=f"{loc}[{i}].label_filename",
                message=f"a label file cannot be named {file.name}: the model's directory uses that name",
                remediation=f"Rename the label file {file.name}.",
            )


def _name_conflicts(files: Iterable[Path | None], loc: str) -> Iterator[Problem]:
    """Different files of the same name: they are copied to one directory under their own names."""
    different = Counter(path.name for path in {path for path in files if path is not None})
    for name, count in different.items():
        if count > 1:
            yield Problem(
                where=loc,
                message=f"{count} different files are named {name}, and a model stores them in one directory",
                remediation=f"Rename one of the files named {name}.",
            )


def _python_based(config: TritonConfiguration, loc: str) -> Iterator[Problem]:
    """Settings that Triton's Python backend, which runs `wasm` and `python` models, accepts but does not implement."""
    if not runs_wasm(config):
        return
    sequences, policy = config.sequence_batching, config.model_transaction_policy
    settings = {
        "model_transaction_policy.decoupled": policy is not None and policy.decoupled,
        "batch_inputs": bool(config.batch_inputs),
        "batch_outputs": bool(config.batch_outputs),
        "sequence_batching.states": sequences is not None and bool(sequences.states),
        "sequence_batching.iterative_sequence": sequences is not None and sequences.iterative_sequence,
    }
    # the module would get a tensor without dimensions, but its own has at least one
    settings |= {f"inputs[{i}].reshape": each.reshape == () for i, each in enumerate(config.inputs)}
    settings |= {f"outputs[{i}].reshape": each.reshape == () for i, each in enumerate(config.outputs)}
    for key, is_set in settings.items():
        if is_set:
            yield Problem(
                where=f"{loc}.{key}",
                message=f"a model of the platform {config.platform} does not support this, although a server loads it",
                remediation='Remove it, or use a custom platform: platform = { Custom = "name" }.',
            )


def _group_names(config: TritonConfiguration, loc: str) -> Iterator[Problem]:
    """Unsafe names of instance groups, for every platform: a custom backend can be written in Python, too."""
    for i, group in enumerate(config.instance_groups):
        reason = shell_problem(group.name or "")
        if reason:
            yield Problem(
                where=f"{loc}.instance_groups[{i}].name",
                message=f"the name {group.name!r} {reason}",
                remediation=SAFE_NAMES,
            )


def _exclusive_fields(config: TritonConfiguration, loc: str) -> Iterator[Problem]:
    """Fields that exclude each other: Triton's message can hold only one of them, and the other would be lost."""
    pairs: list[tuple[str, object, str, object, str]] = [
        ("", config.dynamic_batching, "dynamic_batching", config.sequence_batching, "sequence_batching")
    ]
    if config.sequence_batching is not None:
        sequences = config.sequence_batching
        pairs.append((".sequence_batching", sequences.oldest, "oldest", sequences.direct, "direct"))
    for key, value, name, other, other_name in pairs:
        if value is not None and other is not None:
            yield Problem(
                where=f"{loc}{key}",
                message=f"{name} and {other_name} exclude each other",
                remediation=f"Remove {name} or {other_name}.",
            )
    for i, sample in enumerate(config.warmup):
        for name, tensor in sample.inputs.items():
            sources = {"zero_data": tensor.zero_data, "random_data": tensor.random_data}
            sources["input_data_file"] = tensor.input_data_file is not None
            named = [key for key, is_set in sources.items() if is_set]
            if len(named) > 1:
                yield Problem(
                    where=f"{loc}.warmup[{i}].inputs.{name}",
                    message=f"expected one source of data, got {' and '.join(named)}",
                    remediation=f"Keep only one of {', '.join(named)}.",
                )
    if "graph_level" in config.optimization.model_fields_set and not config.optimization.graph_optimization:
        yield Problem(
            where=f"{loc}.optimization.graph_level",
            message="graph_level is set, but graph_optimization is false",
            remediation="Set graph_optimization = true, or remove graph_level.",
        )


def _flags(sequences: SequenceBatchingConfig, loc: str) -> Iterator[Problem]:
    for i, control in enumerate(sequences.control_inputs):
        if control.control_type is not ControlType.CorrelationId and control.data_type not in _FLAG_TYPES:
            yield Problem(
                where=f"{loc}.control_inputs[{i}].data_type",
                message=f"the control {control.control_type} cannot have the data type {control.data_type}",
                remediation="Use INT32, FP32 or BOOL; only a CorrelationId can have other types.",
            )


def _number_problems(config: TritonConfiguration, loc: str) -> Iterator[Problem]:
    """Numbers that the spec's types can hold, but the fields of Triton's message cannot."""
    for key, number, maximum in _bounded_numbers(config):
        if number > maximum:
            message = f"expected at most {maximum}, got {number}"
            yield Problem(where=f"{loc}.{key}", message=message, remediation=f"Use {maximum} at most.")


def _bounded_numbers(config: TritonConfiguration) -> Iterator[tuple[str, int, int]]:
    """The key, the value and the maximum of each of these numbers."""
    # the requirements define 64 bits for it
    threshold = config.optimization.gather_kernel_buffer_threshold
    yield "optimization.gather_kernel_buffer_threshold", threshold, U32_MAX
    if config.dynamic_batching is not None:
        batching, key = config.dynamic_batching, "dynamic_batching"
        yield from ((f"{key}.preferred_batch_size", size, I32_MAX) for size in batching.preferred_batch_size)
        yield from ((f"{key}.priority_queue_policy", _level(each), U64_MAX) for each in batching.priority_queue_policy)
    if config.sequence_batching is not None and config.sequence_batching.oldest is not None:
        oldest, key = config.sequence_batching.oldest, "sequence_batching.oldest"
        yield f"{key}.max_candidate_sequences", oldest.max_candidate_sequences, I32_MAX
        yield from ((f"{key}.preferred_batch_size", size, I32_MAX) for size in oldest.preferred_batch_size)
    for i, sample in enumerate(config.warmup):
        for name, tensor in sample.inputs.items():
            yield from ((f"warmup[{i}].inputs.{name}.dims", size, I64_MAX) for size in tensor.dims)


def _level(digits: str) -> int:
    return int(digits) if len(digits) <= len(str(U64_MAX)) else U64_MAX + 1  # int() rejects thousands of digits
