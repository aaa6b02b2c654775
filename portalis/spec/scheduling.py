"""The scheduling of a model's requests in Triton (requirements 2.3, and Triton's other settings)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import U32, U64, Choice, Dim, NonEmpty, Path, Positive, Structure
from .model_tensors import DataType

PriorityLevel = Annotated[str, Field(pattern=r"^[1-9]\d*$")]


class TimeoutAction(Choice):
    """The action for a request that has waited too long."""

    REJECT = "REJECT"
    DELAY = "DELAY"


class QueuePolicy(Structure):
    """Limits on the time that requests wait, and on their number."""

    timeout_action: TimeoutAction = TimeoutAction.REJECT
    default_timeout_microseconds: U64 = 0
    """0 means no timeout."""
    allow_timeout_override: bool = False
    max_queue_size: U32 = 0
    """0 means no limit."""


class DynamicBatchingConfig(Structure):
    """The batching of concurrent requests."""

    preferred_batch_size: tuple[Positive, ...] = ()
    max_queue_delay_microseconds: U64 = 0
    preserve_ordering: bool = False
    priority_levels: U32 = 0
    default_priority_level: U32 = 0
    default_queue_policy: QueuePolicy | None = None
    priority_queue_policy: dict[PriorityLevel, QueuePolicy] = Field(default_factory=dict)
    """The policy of each priority level, by its number."""


class ControlType(Choice):
    """The information of a control input about the sequence."""

    Start = "Start"
    Ready = "Ready"
    End = "End"
    CorrelationId = "CorrelationId"


class ControlInput(Structure):
    """An input that Triton adds to each request of a sequence."""

    name: NonEmpty
    control_type: ControlType
    data_type: DataType | None = None
    """By default INT32 for flags and UINT64 for the correlation id."""


class SequenceState(Structure):
    """A tensor that Triton retains between the requests of a sequence."""

    name: NonEmpty
    """The input that receives the state."""
    data_type: DataType
    dims: tuple[Dim, ...]
    output_name: NonEmpty | None = None
    """The output with the next state; by default it has the input's name."""
    initial_state_file: Path | None = None
    """Raw bytes of the initial state; by default zeros."""


class OldestScheduling(Structure):
    """Scheduling in batches of the oldest requests of all sequences."""

    max_candidate_sequences: Positive
    preferred_batch_size: tuple[Positive, ...] = ()
    max_queue_delay_microseconds: U64 = 0
    preserve_ordering: bool = False


class DirectScheduling(Structure):
    """Scheduling in which each sequence keeps its slot in the batch."""

    max_queue_delay_microseconds: U64 = 0
    minimum_slot_utilization: float = Field(default=0.0, ge=0, le=1)


class SequenceBatchingConfig(Structure):
    """Sequence batching: all requests of a sequence are executed by one instance."""

    max_sequence_idle_microseconds: U64 = 1_000_000
    control_inputs: tuple[ControlInput, ...] = ()
    states: tuple[SequenceState, ...] = ()
    oldest: OldestScheduling | None = None
    direct: DirectScheduling | None = None
    """The scheduling strategy if `oldest` is not set."""
    iterative_sequence: bool = False

    @property
    def own_tensors(self) -> set[str]:
        """The tensors that Triton's sequence batcher supplies and reads; clients neither send nor receive them."""
        states = {name for state in self.states for name in (state.name, state.output_name or state.name)}
        return states | {control.name for control in self.control_inputs}


class WarmupInput(Structure):
    """An input of a warm-up request: zeros, random values, or the bytes of a file."""

    data_type: DataType
    dims: tuple[Annotated[int, Field(ge=0)], ...]
    zero_data: bool = False
    random_data: bool = False
    input_data_file: Path | None = None
    """Raw bytes of the tensor; the file is copied into the model."""


class ModelWarmup(Structure):
    """A request that Triton sends before the model is ready."""

    name: NonEmpty
    batch_size: U32 = 1
    count: U32 = 0
    """The number of repetitions; 0 means once."""
    inputs: dict[NonEmpty, WarmupInput]
