"""Sequence batching: control tensors, the two strategies, and states that the server keeps."""

from __future__ import annotations

import math

from ..pbtxt import Message, ModelConfig, enum_name
from .batching import preferred_sizes
from .model_folder import data_size, missing_file, short_file
from .rule import Problems, RuleContext, error
from .tensors import VARIABLE_DIM

PAIRS = ("int32_false_true", "fp32_false_true", "bool_false_true")
CORRELATION_ID = "CONTROL_SEQUENCE_CORRID"
ID_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")
STATES = "initial_state"


def check_sequences(config: ModelConfig, context: RuleContext) -> Problems:
    if not config.HasField("sequence_batching"):
        return
    sequences = config.sequence_batching
    yield from _controls(sequences)
    if sequences.HasField("oldest"):
        sizes = sequences.oldest.preferred_batch_size
        yield from preferred_sizes(sizes, config.max_batch_size, "sequence_batching.oldest")
    if sequences.HasField("direct") and not 0 <= sequences.direct.minimum_slot_utilization <= 1:
        said = f"it is {sequences.direct.minimum_slot_utilization:g}"
        yield error("sequence_batching.direct.minimum_slot_utilization", said, "Use a fraction from 0 to 1.")
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
            said = f"two control tensors are called {tensor.name!r}"
            yield error(f"{where}.name", said, "Give each control its own tensor.")
        names.add(tensor.name)
        for j, control in enumerate(tensor.control):
            at, kind = f"{where}.control[{j}]", enum_name(control, "kind")
            if kind in kinds:
                yield error(f"{at}.kind", f"there are two controls {kind}", "Keep one.")
            kinds.add(kind)
            yield from _identity(control, at) if kind == CORRELATION_ID else _switch(control, at, kind)


def _switch(control: Message, where: str, kind: str) -> Problems:
    given = [name for name in PAIRS if len(getattr(control, name))]
    if len(given) != 1:
        said = f"{kind} has {' and '.join(given) or 'no values'}"
        yield error(where, said, f"Set one of {', '.join(PAIRS)}.")
    elif len(getattr(control, given[0])) != 2:
        said = f"it has {len(getattr(control, given[0]))} values"
        yield error(f"{where}.{given[0]}", said, "Give two: the value of false, then that of true.")


def _identity(control: Message, where: str) -> Problems:
    given = [name for name in PAIRS if len(getattr(control, name))]
    if given:
        yield error(f"{where}.{given[0]}", f"{CORRELATION_ID} is no switch", "Leave it out, and set data_type.")
    if enum_name(control, "data_type") not in ID_TYPES:
        said = f"{CORRELATION_ID} is {enum_name(control, 'data_type')}"
        yield error(f"{where}.data_type", said, f"Set one of {', '.join(ID_TYPES)}.")


def _state(state: Message, where: str, seen: set[str], context: RuleContext) -> Problems:
    if len(state.initial_state) > 1:
        said = f"state {state.input_name!r} has {len(state.initial_state)} initial states"
        yield error(f"{where}.initial_state", said, "Keep one.")
    for initial in state.initial_state[:1]:
        at = f"{where}.initial_state[0]"
        if state.input_name in seen:
            yield error(f"{where}.input_name", f"two states are called {state.input_name!r}", "Name each input once.")
        seen.add(state.input_name)
        if not initial.name:
            yield error(f"{at}.name", f"the initial state of {state.input_name!r} has no name", "Name it.")
        if initial.data_type != state.data_type:
            said = f"it is {enum_name(initial, 'data_type')}, the state {enum_name(state, 'data_type')}"
            yield error(f"{at}.data_type", said, "Make both the same.")
        yield from _initial_dims(list(initial.dims), list(state.dims), at)
        yield from _initial_data(initial, state.input_name, at, context)


def _initial_dims(dims: list[int], wanted: list[int], where: str) -> Problems:
    if VARIABLE_DIM in dims:
        yield error(f"{where}.dims", f"{dims} has a variable dim", "Give every dim a size.")
    elif len(dims) != len(wanted) or any(b not in (VARIABLE_DIM, a) for a, b in zip(dims, wanted)):
        yield error(f"{where}.dims", f"{dims} is not the state's {wanted}", "Give it the dims of the state.")


def _initial_data(initial: Message, name: str, where: str, context: RuleContext) -> Problems:
    source = initial.WhichOneof("state_data")
    if source is None:
        yield error(where, f"the initial state of {name!r} has no data", "Set zero_data: true, or data_file.")
    if source != "data_file" or context.folder is None:
        return
    folder = context.folder / STATES
    missing = list(missing_file(context.folder, folder, initial.data_file, f"{where}.data_file", "initial state"))
    yield from missing
    wanted = data_size(enum_name(initial, "data_type"), math.prod(initial.dims))
    if not missing:
        yield from short_file(folder / initial.data_file, wanted, f"{where}.data_file")
