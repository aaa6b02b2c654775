"""What in one model's ``triton_config`` Triton would refuse, or pass over without a word, and no message can show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..naming import shell_trouble
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


def config_problems(given: TritonConfiguration, at: str) -> Iterator[Problem]:
    """Everything; `at` is where `given` stands in the spec."""
    yield from _python_based(given, at)
    yield from _group_names(given, at)
    yield from _two_of_one(given, at)
    yield from _number_problems(given, at)
    if given.sequence_batching is not None:
        yield from _flags(given.sequence_batching, f"{at}.sequence_batching")
    yield from label_problems(given.outputs, f"{at}.outputs")
    states = given.sequence_batching.states if given.sequence_batching is not None else ()
    warm = (tensor.input_data_file for sample in given.warmup for tensor in sample.inputs.values())
    yield from _one_name(warm, f"{at}.warmup")
    yield from _one_name((each.initial_state_file for each in states), f"{at}.sequence_batching.states")


def label_problems(outputs: Iterable[ModelOutput], at: str) -> Iterator[Problem]:
    """The label files of a model lie in its own folder, beside what is there already."""
    files = [each.label_filename for each in outputs]
    yield from _one_name(files, at)
    for i, file in enumerate(files):
        if file is not None and (file.name in (CONFIG_FILE, *NOT_VERSIONS) or file.name.isdecimal()):
            yield Problem(
                where=f"{at}[{i}].label_filename",
                message=f"a label file cannot be called {file.name}: something else in the model's folder is",
                remediation=f"Rename the label file {file.name}.",
            )


def _one_name(files: Iterable[Path | None], at: str) -> Iterator[Problem]:
    """Files are copied next to each other under their own names."""
    different = Counter(path.name for path in {path for path in files if path is not None})
    for name, count in different.items():
        if count > 1:
            yield Problem(
                where=at,
                message=f"{count} different files are called {name}, and a model holds them in one folder",
                remediation=f"Rename one of the files called {name}.",
            )


def _python_based(given: TritonConfiguration, at: str) -> Iterator[Problem]:
    """What Triton's Python backend, on which `wasm` and `python` models run, takes from a config and does not do."""
    if not runs_wasm(given):
        return
    sequences, policy = given.sequence_batching, given.model_transaction_policy
    asked = {
        "model_transaction_policy.decoupled": policy is not None and policy.decoupled,
        "batch_inputs": bool(given.batch_inputs),
        "batch_outputs": bool(given.batch_outputs),
        "sequence_batching.states": sequences is not None and bool(sequences.states),
        "sequence_batching.iterative_sequence": sequences is not None and sequences.iterative_sequence,
    }
    # the module would get no dimension where it has one at least
    asked |= {f"inputs[{i}].reshape": each.reshape == () for i, each in enumerate(given.inputs)}
    asked |= {f"outputs[{i}].reshape": each.reshape == () for i, each in enumerate(given.outputs)}
    for key, wanted in asked.items():
        if wanted:
            yield Problem(
                where=f"{at}.{key}",
                message=f"a model of the platform {given.platform} cannot do that, though a server loads it",
                remediation='Leave it out, or use a platform of your own: platform = { Custom = "name" }.',
            )


def _group_names(given: TritonConfiguration, at: str) -> Iterator[Problem]:
    """Whatever the platform: a custom backend may be written in Python, too."""
    for i, group in enumerate(given.instance_groups):
        trouble = shell_trouble(group.name or "")
        if trouble:
            yield Problem(
                where=f"{at}.instance_groups[{i}].name",
                message=f"the name {group.name!r} {trouble}",
                remediation=SAFE_NAMES,
            )


def _two_of_one(given: TritonConfiguration, at: str) -> Iterator[Problem]:
    """Fields of which Triton's message holds one only: the other would be lost."""
    pairs: list[tuple[str, object, str, object, str]] = [
        ("", given.dynamic_batching, "dynamic_batching", given.sequence_batching, "sequence_batching")
    ]
    if given.sequence_batching is not None:
        sequences = given.sequence_batching
        pairs.append((".sequence_batching", sequences.oldest, "oldest", sequences.direct, "direct"))
    for below, one, name, other, other_name in pairs:
        if one is not None and other is not None:
            yield Problem(
                where=f"{at}{below}",
                message=f"{name} and {other_name} are both given, and a model has one of them",
                remediation=f"Leave {name} or {other_name} out.",
            )
    for i, sample in enumerate(given.warmup):
        for name, tensor in sample.inputs.items():
            sources = {"zero_data": tensor.zero_data, "random_data": tensor.random_data}
            sources["input_data_file"] = tensor.input_data_file is not None
            named = [key for key, wanted in sources.items() if wanted]
            if len(named) > 1:
                yield Problem(
                    where=f"{at}.warmup[{i}].inputs.{name}",
                    message=f"{' and '.join(named)} are given, and the data can come from one of them",
                    remediation=f"Leave all but one of {', '.join(named)} out.",
                )
    if "graph_level" in given.optimization.model_fields_set and not given.optimization.graph_optimization:
        yield Problem(
            where=f"{at}.optimization.graph_level",
            message="a level is given, but graph_optimization is false",
            remediation="Set graph_optimization = true, or leave the level out.",
        )


def _flags(sequences: SequenceBatchingConfig, at: str) -> Iterator[Problem]:
    for i, control in enumerate(sequences.control_inputs):
        if control.control_type is not ControlType.CorrelationId and control.data_type not in _FLAG_TYPES:
            yield Problem(
                where=f"{at}.control_inputs[{i}].data_type",
                message=f"the control {control.control_type} is {control.data_type}",
                remediation="Use INT32, FP32 or BOOL; only a CorrelationId can be something else.",
            )


def _number_problems(given: TritonConfiguration, at: str) -> Iterator[Problem]:
    """All of them; `at` is where `given` stands in the spec."""
    for where, number, most in _bounded(given):
        if number > most:
            yield Problem(where=f"{at}.{where}", message=f"{number} is too large", remediation=f"Use {most} at most.")


def _bounded(given: TritonConfiguration) -> Iterator[tuple[str, int, int]]:
    # the requirements have 64 bits for it
    threshold = given.optimization.gather_kernel_buffer_threshold
    yield "optimization.gather_kernel_buffer_threshold", threshold, U32_MAX
    if given.dynamic_batching is not None:
        batching, where = given.dynamic_batching, "dynamic_batching"
        yield from ((f"{where}.preferred_batch_size", size, I32_MAX) for size in batching.preferred_batch_size)
        yield from ((f"{where}.priority_queue_policy", _level(key), U64_MAX) for key in batching.priority_queue_policy)
    if given.sequence_batching is not None and given.sequence_batching.oldest is not None:
        oldest, where = given.sequence_batching.oldest, "sequence_batching.oldest"
        yield f"{where}.max_candidate_sequences", oldest.max_candidate_sequences, I32_MAX
        yield from ((f"{where}.preferred_batch_size", size, I32_MAX) for size in oldest.preferred_batch_size)
    for i, sample in enumerate(given.warmup):
        for name, tensor in sample.inputs.items():
            yield from ((f"warmup[{i}].inputs.{name}.dims", size, I64_MAX) for size in tensor.dims)


def _level(digits: str) -> int:
    return int(digits) if len(digits) <= len(str(U64_MAX)) else U64_MAX + 1  # Python refuses thousands of digits
