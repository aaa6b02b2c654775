"""A decoded inference request: its input arrays, the requested outputs, and its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..runtime_api import TensorSpec
from ..sequence_step import NO_SEQUENCE, SequenceStep


@dataclass(frozen=True, slots=True)
class RegionSlice:
    """Bytes of a shared memory region, as a client names them: the numbers can have any value, and the region might not
    exist."""

    region: str
    """The name under which the region is registered."""
    offset: int
    """In bytes, from the start of the region."""
    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True)
class RegionInput:
    """An input whose data is in a shared memory region."""

    spec: TensorSpec
    shape: tuple[int, ...]
    place: RegionSlice


class RequestInputs(NamedTuple):
    """The inputs of a request by name: arrays, and those that are yet to be read from regions."""

    arrays: dict[str, np.ndarray]
    in_regions: dict[str, RegionInput]


@dataclass(frozen=True, slots=True)
class OutputRequest:
    """A requested output, and the form in which the client receives it."""

    spec: TensorSpec
    binary: bool = False
    """As raw bytes."""
    classes: int = 0
    """Number of classes in place of the tensor: those with the highest values. 0 requests the tensor itself."""
    place: RegionSlice | None = None
    """The place in shared memory to which the output is written; the response then has no data for it."""

    @property
    def name(self) -> str:
        """The name of the output."""
        return self.spec.name


@dataclass(frozen=True)
class ParsedRequest:
    """An inference request, decoded."""

    id: str | None
    inputs: dict[str, np.ndarray]
    """The input arrays by name, without those in `region_inputs`."""
    outputs: list[OutputRequest]
    timeout_s: float | None = None
    """Seconds that the whole request may take, queueing included."""
    guest_timeout_s: float | None = None
    """Seconds that the module may compute."""
    body_bytes: int = 0
    """Size of the HTTP body after decompression, in bytes."""
    on_compute: Callable[[float], None] | None = None
    """Called with the seconds for which each module ran for the request."""
    region_inputs: dict[str, RegionInput] = field(default_factory=dict)
    """The inputs that are yet to be read from shared memory, by name."""
    take_outputs: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None
    """Called by models with `copies_inputs_once` before the guest's next call: it returns the outputs for the response
    in exchange for those of the guest, which can be views of its memory. Raises RequestError."""
    sequence: SequenceStep = NO_SEQUENCE
    """The place of the request in a sequence."""

    @property
    def has_classes(self) -> bool:
        """Whether an output is requested as classes."""
        return any(output.classes for output in self.outputs)

    @property
    def uses_regions(self) -> bool:
        """Whether inputs or outputs are in shared memory."""
        return bool(self.region_inputs) or any(output.place is not None for output in self.outputs)

    def response_arrays(self, outputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """`outputs` without those that are written to shared memory."""
        if not self.uses_regions:
            return outputs
        return {output.name: outputs[output.name] for output in self.outputs if output.place is None}
