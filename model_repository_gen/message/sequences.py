"""The sequence batcher: what it tells a model of its sequence, and what it keeps for it."""

from __future__ import annotations

from ...spec.model_tensors import DataType
from ...spec.scheduling import (
    ControlInput,
    ControlType,
    DirectScheduling,
    OldestScheduling,
    SequenceBatchingConfig,
    SequenceState,
)
from ..pbtxt import Message, ModelConfig, schema

_KINDS = {
    ControlType.Start: "CONTROL_SEQUENCE_START",
    ControlType.Ready: "CONTROL_SEQUENCE_READY",
    ControlType.End: "CONTROL_SEQUENCE_END",
    ControlType.CorrelationId: "CONTROL_SEQUENCE_CORRID",
}
_FLAGS = {DataType.FP32: "fp32_false_true", DataType.BOOL: "bool_false_true"}


def set_sequence_batching(config: ModelConfig, batching: SequenceBatchingConfig) -> None:
    """Keep the requests of a sequence together."""
    target = config.sequence_batching
    target.SetInParent()
    target.max_sequence_idle_microseconds = batching.max_sequence_idle_microseconds
    target.iterative_sequence = batching.iterative_sequence
    for control in batching.control_inputs:
        _add_control(target, control)
    for state in batching.states:
        _add_state(target, state)
    if batching.oldest is not None:
        _set_oldest(target.oldest, batching.oldest)
    elif batching.direct is not None:
        _set_direct(target.direct, batching.direct)


def _add_control(target: Message, given: ControlInput) -> None:
    control = target.control_input.add(name=given.name).control.add(kind=_KINDS[given.control_type])
    if given.control_type is ControlType.CorrelationId:
        control.data_type = schema().DataType.Value((given.data_type or DataType.UINT64).triton)
    else:
        # what stands for "no" and for "yes"
        getattr(control, _FLAGS.get(given.data_type or DataType.INT32, "int32_false_true")).extend([0, 1])


def _add_state(target: Message, given: SequenceState) -> None:
    data_type = given.data_type.triton
    state = target.state.add(
        input_name=given.name, output_name=given.output_name or given.name, data_type=data_type, dims=given.dims
    )
    dims = [abs(size) for size in given.dims]  # the first state has a size of its own: 1 where any is taken
    first = state.initial_state.add(name=f"initial {given.name}", data_type=data_type, dims=dims)
    if given.initial_state_file is None:
        first.zero_data = True
    else:
        first.data_file = given.initial_state_file.name


def _set_oldest(target: Message, given: OldestScheduling) -> None:
    target.max_candidate_sequences = given.max_candidate_sequences
    target.preferred_batch_size.extend(given.preferred_batch_size)
    target.max_queue_delay_microseconds = given.max_queue_delay_microseconds
    target.preserve_ordering = given.preserve_ordering


def _set_direct(target: Message, given: DirectScheduling) -> None:
    target.SetInParent()
    target.max_queue_delay_microseconds = given.max_queue_delay_microseconds
    target.minimum_slot_utilization = given.minimum_slot_utilization
