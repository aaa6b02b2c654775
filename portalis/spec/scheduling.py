"""How Triton schedules the requests of a model (requirements 2.3, and what Triton has beyond it)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import U32, U64, Choice, Dim, NonEmpty, Path, Positive, Structure
from .model_tensors import DataType

PriorityLevel = Annotated[str, Field(pattern=r"^[1-9]\d*$")]


class TimeoutAction(Choice):
    """What happens to a request that waited too long."""

    REJECT = "REJECT"
    DELAY = "DELAY"


class QueuePolicy(Structure):
    """How long requests wait, and how many."""

    timeout_action: TimeoutAction = TimeoutAction.REJECT
    default_timeout_microseconds: U64 = 0
    """0 is no timeout."""
    allow_timeout_override: bool = False
    max_queue_size: U32 = 0
    """0 is no limit."""


class DynamicBatchingConfig(Structure):
    """Requests are gathered into batches."""

    preferred_batch_size: tuple[Positive, ...] = ()
    max_queue_delay_microseconds: U64 = 0
    preserve_ordering: bool = False
    priority_levels: U32 = 0
    default_priority_level: U32 = 0
    default_queue_policy: QueuePolicy | None = None
    priority_queue_policy: dict[PriorityLevel, QueuePolicy] = Field(default_factory=dict)
    """The policy of each priority level, by its number."""


class ControlType(Choice):
    """What a control input tells the model of its sequence."""

    Start = "Start"
    Ready = "Ready"
    End = "End"
    CorrelationId = "CorrelationId"


class ControlInput(Structure):
    """An input that Triton sends along with each request of a sequence."""

    name: NonEmpty
    control_type: ControlType
    data_type: DataType | None = None
    """INT32 for flags and UINT64 for the correlation id when not given."""


class SequenceState(Structure):
    """A tensor that Triton keeps between the requests of a sequence."""

    name: NonEmpty
    """The input that receives the state."""
    data_type: DataType
    dims: tuple[Dim, ...]
    output_name: NonEmpty | None = None
    """The output that gives the next state; called like the input when not given."""
    initial_state_file: Path | None = None
    """Raw bytes of the first state; zeros when not given."""


class OldestScheduling(Structure):
    """Batches of the oldest requests of all sequences."""

    max_candidate_sequences: Positive
    preferred_batch_size: tuple[Positive, ...] = ()
    max_queue_delay_microseconds: U64 = 0
    preserve_ordering: bool = False


class DirectScheduling(Structure):
    """Each sequence keeps its place in the batch."""

    max_queue_delay_microseconds: U64 = 0
    minimum_slot_utilization: float = Field(default=0.0, ge=0, le=1)


class SequenceBatchingConfig(Structure):
    """Requests belong to sequences, and those of one sequence reach one instance."""

    max_sequence_idle_microseconds: U64 = 1_000_000
    control_inputs: tuple[ControlInput, ...] = ()
    states: tuple[SequenceState, ...] = ()
    oldest: OldestScheduling | None = None
    direct: DirectScheduling | None = None
    """How sequences are scheduled when `oldest` is not given."""
    iterative_sequence: bool = False

    @property
    def own_tensors(self) -> set[str]:
        """The tensors of a module that the batcher itself gives and takes: clients neither send nor get them."""
        states = {name for state in self.states for name in (state.name, state.output_name or state.name)}
        return states | {control.name for control in self.control_inputs}


class WarmupInput(Structure):
    """One input of a warm-up request: zeros, random values, or the bytes of a file."""

    data_type: DataType
    dims: tuple[Annotated[int, Field(ge=0)], ...]
    zero_data: bool = False
    random_data: bool = False
    input_data_file: Path | None = None
    """Raw bytes of the tensor; the file is copied into the model."""


class ModelWarmup(Structure):
    """Requests that Triton sends before it calls the model ready."""

    name: NonEmpty
    batch_size: U32 = 1
    count: U32 = 0
    """How often it is sent; 0 is once."""
    inputs: dict[NonEmpty, WarmupInput]
