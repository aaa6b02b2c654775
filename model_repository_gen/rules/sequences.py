"""Rules for sequence batching: control tensors, the two strategies, and states that the server keeps."""

from __future__ import annotations

import math

from ..pbtxt import Message, ModelConfig, enum_name
from .batching import preferred_sizes
from .model_folder import data_size, missing_file, short_file
from .rule import Problems, RuleContext, error
from .tensors import VARIABLE_DIM

_VALUE_PAIRS = ("int32_false_true", "fp32_false_true", "bool_false_true")
_CORRELATION_ID = "CONTROL_SEQUENCE_CORRID"
_ID_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")
_STATES = "initial_state"


def check_sequences(config: ModelConfig, context: RuleContext) -> Problems:
    """Problems of the sequence batcher."""
    if not config.HasField("sequence_batching"):
        return
    sequences = config.sequence_batching
    yield from _controls(sequences)
    if sequences.HasField("oldest"):
        sizes = sequences.oldest.preferred_batch_size
        yield from preferred_sizes(sizes, config.max_batch_size, "sequence_batching.oldest")
    if sequences.HasField("direct") and not 0 <= sequences.direct.minimum_slot_utilization <= 1:
        message = f"expected a fraction from 0 to 1, got {sequences.direct.minimum_slot_utilization:g}"
        yield error("sequence_batching.direct.minimum_slot_utilization", message, "Use a fraction from 0 to 1.")
    seen: set[str] = set()
    for i, state in enumerate(sequences.state):
        yield from _state(state, f"sequence_batching.state[{i}]", seen, context)


def _controls(sequences: Message) -> Problems:
    names: set[str] = set()
    kinds: set[str] = set()
    for i, tensor in enumerate(sequences.control_input):
        where = f"sequence_batching.control_input[{i}]"
        if not tensor.name:
            yield error(f"{where}.name", "the control tensor has no name", "Name it.")
        elif tensor.name in names:
            message = f"two control tensors are named {tensor.name!r}"
            yield error(f"{where}.name", message, "Use a separate tensor for each control.")
        names.add(tensor.name)
        for j, control in enumerate(tensor.control):
            loc, kind = f"{where}.control[{j}]", enum_name(control, "kind")
            if kind in kinds:
                yield error(f"{loc}.kind", f"more than one control is {kind}", "Keep one.")
            kinds.add(kind)
            yield from _identity(control, loc) if kind == _CORRELATION_ID else _switch(control, loc, kind)


def _switch(control: Message, where: str, kind: str) -> Problems:
    pairs = [name for name in _VALUE_PAIRS if len(getattr(control, name))]
    if len(pairs) != 1:
        message = f"expected one pair of values for {kind}, got {' and '.join(pairs) or 'none'}"
        yield error(where, message, f"Set one of {', '.join(_VALUE_PAIRS)}.")
    elif len(getattr(control, pairs[0])) != 2:
        message = f"expected 2 values, got {len(getattr(control, pairs[0]))}"
        yield error(f"{where}.{pairs[0]}", message, "Set two values: one for false, then one for true.")


def _identity(control: Message, where: str) -> Problems:
    pairs = [name for name in _VALUE_PAIRS if len(getattr(control, name))]
    if pairs:
        message = f"{_CORRELATION_ID} cannot have values for false and true"
        yield error(f"{where}.{pairs[0]}", message, f"Remove {pairs[0]}, and set data_type.")
    if enum_name(control, "data_type") not in _ID_TYPES:
        message = f"{_CORRELATION_ID} cannot have the data type {enum_name(control, 'data_type')}"
        yield error(f"{where}.data_type", message, f"Set one of {', '.join(_ID_TYPES)}.")


def _state(state: Message, where: str, seen: set[str], context: RuleContext) -> Problems:
    if len(state.initial_state) > 1:
        message = f"state {state.input_name!r} has {len(state.initial_state)} initial states"
        yield error(f"{where}.initial_state", message, "Keep one.")
    for initial in state.initial_state[:1]:
        loc = f"{where}.initial_state[0]"
        if state.input_name in seen:
            message = f"two states are named {state.input_name!r}"
            yield error(f"{where}.input_name", message, "Use a separate input for each state.")
        seen.add(state.input_name)
        if not initial.name:
            yield error(f"{loc}.name", f"the initial state of {state.input_name!r} has no name", "Name it.")
        if initial.data_type != state.data_type:
            message = f"expected the state's {enum_name(state, 'data_type')}, got {enum_name(initial, 'data_type')}"
            yield error(f"{loc}.data_type", message, "Use the same data type for both.")
        yield from _initial_dims(list(initial.dims), list(state.dims), loc)
        yield from _initial_data(initial, state.input_name, loc, context)


def _initial_dims(dims: list[int], expected: list[int], where: str) -> Problems:
    if VARIABLE_DIM in dims:
        yield error(f"{where}.dims", f"an initial state cannot have a variable dim, got {dims}", "Set every dim.")
    elif len(dims) != len(expected) or any(b not in (VARIABLE_DIM, a) for a, b in zip(dims, expected)):
        yield error(f"{where}.dims", f"expected the state's dims {expected}, got {dims}", "Use the state's dims.")


def _initial_data(initial: Message, name: str, where: str, context: RuleContext) -> Problems:
    source = initial.WhichOneof("state_data")
    if source is None:
        yield error(where, f"the initial state of {name!r} has no data", "Set zero_data: true, or data_file.")
    if source != "data_file" or context.folder is None:
        return
    folder = context.folder / _STATES
    missing = list(missing_file(context.folder, folder, initial.data_file, f"{where}.data_file", "initial state"))
    yield from missing
    expected = data_size(enum_name(initial, "data_type"), math.prod(initial.dims))
    if not missing:
        yield from short_file(folder / initial.data_file, expected, f"{where}.data_file")
