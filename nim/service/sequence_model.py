"""A stateful model: a module that answers the requests of each sequence in an instance of its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np

from .codec import ParsedRequest
from .loop_calls import OnWait, wait_for
from .module_model import ModuleModel
from .request_errors import ModelClosed
from .runtime_api import Interface, Program
from .scheduling import Outputs, SequenceControls, SequenceScheduler
from .sequence_settings import ControlSettings, SequenceSettings
from .sequence_step import SequenceStep

MAX_SEQUENCES = 1024
"""Maximum number of instances for the sequences of a model without `max_sequences`."""
_KINDS = {"CorrelationId": "CORRID", "Start": "START", "Ready": "READY", "End": "END"}
_FLAGS = {"INT32": "int32_false_true", "FP32": "fp32_false_true", "BOOL": "bool_false_true"}


class SequenceModel(ModuleModel):
    """A module with sequences. Its interface lacks the control inputs, which requests do not have."""

    _sequences: SequenceScheduler
    _controls: SequenceControls
    _served: Interface
    _first_program: Program | None
    _content: bytes

    @property
    def interface(self) -> Interface:
        """The module's interface without the control inputs."""
        _ = self.program  # raises before the module is loaded
        return self._served

    @property
    def copies_inputs_once(self) -> bool:
        """False: a sequence does not pass `take_outputs` on."""
        return False

    async def run(self, request: ParsedRequest) -> Outputs:
        """The module's outputs for a request of a sequence."""
        if not self.ready:
            raise self._unavailable()
        try:
            outputs = await self._sequences.run(
                self._scalars.module_inputs(request.inputs),
                request.sequence,
                timeout_s=request.timeout_s,
                guest_timeout_s=request.guest_timeout_s,
                on_success=request.on_compute,
            )
        except ModelClosed as error:
            return await self._successor(error).run(request)
        return self._scalars.served_outputs(outputs)

    def run_blocking(self, request: ParsedRequest, loop: asyncio.AbstractEventLoop, on_wait: OnWait) -> Outputs:
        """The module's outputs for a request of a sequence, which runs in a thread of its slot."""
        return wait_for(self.run(request), loop, on_wait)

    def statistics_document(self) -> dict[str, Any]:
        """The statistics of all sequences."""
        if not self.ready:
            raise self._unavailable()
        return self._sequences.statistics.to_json(self.name, self.version)

    def _add_scheduling(self, config: Any) -> None:
        set_sequence_config(config.sequence_batching, self._declared, config.max_batch_size)

    @property
    def _declared(self) -> SequenceSettings:
        assert self.settings.sequence_batching is not None
        return self.settings.sequence_batching

    def _load(self) -> None:
        super()._load()
        program = self.program
        self._controls = SequenceControls(self._declared.control_inputs, program.interface, self.name)
        inputs = tuple(spec for spec in program.interface.inputs if spec.name not in self._controls.names)
        self._served = replace(program.interface, inputs=inputs)

    def _keep_module(self, content: bytes) -> None:
        self._content = content

    def _start_scheduling(self) -> None:
        interface, options = self.program.interface, self._options
        self._first_program = self.program
        self._sequences = SequenceScheduler(
            self._slot_program,
            self._controls,
            name=self.name,
            batches=interface.max_batch_size > 0,
            max_sequences=self._max_sequences(interface),
            max_idle_s=self._declared.max_idle_s,
            max_queued=options.max_queued,
            workers=options.workers,
            metrics=options.metrics,
        )

    def _max_sequences(self, interface: Interface) -> int:
        """As many as Triton with `sequence_instances` of the model, unless `max_sequences` is set."""
        if self.settings.max_sequences:
            return self.settings.max_sequences
        oldest = self._declared.oldest
        number = max(1, interface.max_batch_size) if oldest is None else oldest.max_candidate_sequences
        return min(number * self.settings.sequence_instances, MAX_SEQUENCES)

    def _slot_program(self) -> Program:
        """The module for one more slot; the first one is loaded already."""
        program, self._first_program = self._first_program, None
        return program if program is not None else self._load_program(self._content)

    def _warm_up_inputs(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**super()._warm_up_inputs(inputs), **self._controls.arrays(SequenceStep(1, True, True))}

    def reject_backlog(self) -> None:
        """Reject the requests of sequences that wait until others end."""
        if hasattr(self, "_sequences"):
            self._sequences.reject_backlog()

    def close(self) -> None:
        """Finish the accepted requests of sequences that have an instance, and free the instances."""
        if hasattr(self, "_sequences"):
            self._sequences.close()
        super().close()


def set_sequence_config(batching: Any, settings: SequenceSettings, max_batch_size: int) -> None:
    """Set `batching`, the field of a ModelConfig, to `settings` with Triton's defaults."""
    batching.max_sequence_idle_microseconds = round(settings.max_idle_s * 1e6)
    for control in settings.control_inputs:
        _add_control(batching, control)
    if settings.oldest is not None:
        oldest = batching.oldest
        oldest.max_candidate_sequences = settings.oldest.max_candidate_sequences
        sizes = settings.oldest.preferred_batch_size or (max_batch_size,) * bool(max_batch_size)
        oldest.preferred_batch_size.extend(sizes)
        oldest.max_queue_delay_microseconds = settings.oldest.max_queue_delay_microseconds
        oldest.preserve_ordering = settings.oldest.preserve_ordering
    elif settings.direct is not None:
        batching.direct.SetInParent()
        batching.direct.max_queue_delay_microseconds = settings.direct.max_queue_delay_microseconds
        batching.direct.minimum_slot_utilization = settings.direct.minimum_slot_utilization


def _add_control(batching: Any, settings: ControlSettings) -> None:
    control = batching.control_input.add(name=settings.name).control.add(
        kind=f"CONTROL_SEQUENCE_{_KINDS[settings.control_type]}"
    )
    if settings.control_type == "CorrelationId":
        control.data_type = f"TYPE_{settings.kind.replace('BYTES', 'STRING')}"
    else:
        getattr(control, _FLAGS[settings.kind]).extend([0, 1])
