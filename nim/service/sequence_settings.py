"""The settings of sequences: requests that one stateful instance of a module answers in order."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .settings_table import SettingsTable

_U64 = Annotated[int, Field(ge=0, le=2**64 - 1)]
_FLAG_TYPES = ("INT32", "FP32", "BOOL")
_ID_TYPES = ("UINT64", "INT64", "UINT32", "INT32", "STRING", "BYTES")


class ControlSettings(SettingsTable):
    """An input of the module that the service adds to each request of a sequence."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    control_type: Literal["Start", "Ready", "End", "CorrelationId"]
    data_type: Literal["INT32", "FP32", "BOOL", "UINT64", "INT64", "UINT32", "STRING", "BYTES"] | None = None
    """By default INT32 for flags and UINT64 for the correlation id."""

    @property
    def kind(self) -> str:
        """The data type. STRING is called BYTES, as in requests."""
        default = "UINT64" if self.control_type == "CorrelationId" else "INT32"
        return (self.data_type or default).replace("STRING", "BYTES")

    @model_validator(mode="after")
    def _has_a_possible_type(self) -> ControlSettings:
        types = _ID_TYPES if self.control_type == "CorrelationId" else _FLAG_TYPES
        if self.data_type not in (None, *types):
            raise ValueError(f"data_type: {self.control_type} is one of {', '.join(types)}, not {self.data_type}")
        return self


class OldestSettings(SettingsTable):
    """Triton's strategy `oldest`. The sequences of the service never share a call, so only the number applies."""

    max_candidate_sequences: Annotated[int, Field(ge=1, le=2**31 - 1)]
    preferred_batch_size: tuple[Annotated[int, Field(ge=1, le=2**31 - 1)], ...] = ()
    max_queue_delay_microseconds: _U64 = 0
    preserve_ordering: bool = False


class DirectSettings(SettingsTable):
    """Triton's strategy `direct`. The service does not wait for other sequences, so nothing of it applies."""

    max_queue_delay_microseconds: _U64 = 0
    minimum_slot_utilization: Annotated[float, Field(ge=0, le=1)] = 0.0


class SequenceSettings(SettingsTable):
    """Sequences of one model. The keys are those of ``triton_config.sequence_batching`` in a spec."""

    max_sequence_idle_microseconds: _U64 = 1_000_000
    """A sequence without a request for this time ends; 0 means a second, as in Triton."""
    control_inputs: Annotated[tuple[ControlSettings, ...], Field(max_length=4)] = ()
    oldest: OldestSettings | None = None
    direct: DirectSettings | None = None
    states: tuple[dict[str, Any], ...] = ()
    """Not supported: must be empty."""
    iterative_sequence: bool = False
    """Not supported: must be false."""

    @model_validator(mode="after")
    def _is_supported(self) -> SequenceSettings:
        if self.states:
            raise ValueError("states: the service has no implicit state; keep the state in the module")
        if self.iterative_sequence:
            raise ValueError("iterative_sequence: the service does not schedule a request again")
        if self.oldest is not None and self.direct is not None:
            raise ValueError("oldest and direct exclude each other")
        for what in ("name", "control_type"):
            values = [getattr(control, what) for control in self.control_inputs]
            if twice := sorted({value for value in values if values.count(value) > 1}):
                raise ValueError(f"control_inputs: {what} {', '.join(twice)} is used twice")
        return self

    @property
    def max_idle_s(self) -> float:
        """Seconds without a request after which a sequence ends."""
        return (self.max_sequence_idle_microseconds or 1_000_000) / 1e6
