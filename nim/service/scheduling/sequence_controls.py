"""The control inputs of a stateful module: arrays with the place of each request in its sequence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..request_errors import RequestError, input_error
from ..runtime_api import Interface, SettingsError, TensorSpec
from ..sequence_settings import ControlSettings
from ..sequence_step import SequenceStep


class SequenceControls:
    """The control inputs of one module. Raises SettingsError unless they are inputs of the module, of one element with
    the declared data type."""

    def __init__(self, declared: tuple[ControlSettings, ...], interface: Interface, model: str) -> None:
        specs = {spec.name: spec for spec in interface.inputs}
        for control in declared:
            _check_control(control, specs.get(control.name))
        self._model = model
        self._batch = (1,) if interface.max_batch_size else ()
        self._controls = [(control, specs[control.name]) for control in declared]
        self.names = frozenset(control.name for control in declared)
        """The names of the inputs, which requests do not have."""

    def check(self, step: SequenceStep) -> None:
        """Raise RequestError with status 400 if the module cannot receive the id of `step`."""
        for control, spec in self._controls:
            if control.control_type == "CorrelationId" and isinstance(step.id, str) and spec.dtype.name != "BYTES":
                raise input_error(
                    f"sequence_id of a request to model '{self._model}' is a text, but its control input"
                    f" '{spec.name}' is {spec.dtype.name}; use a number"
                )

    def arrays(self, step: SequenceStep) -> Mapping[str, np.ndarray]:
        """The arrays for `step`, of shape [1], or [1, 1] if the module has batches; scalars lack the last size."""
        return {spec.name: self._array(control, spec, step) for control, spec in self._controls}

    def _array(self, control: ControlSettings, spec: TensorSpec, step: SequenceStep) -> np.ndarray:
        array = np.empty(self._batch + (1,) * len(spec.dims), spec.dtype.numpy)
        if control.control_type != "CorrelationId":
            array.fill({"Start": step.start, "End": step.end, "Ready": True}[control.control_type])
        elif spec.dtype.name == "BYTES":
            array.fill(str(step.id).encode())
        else:
            # a smaller type gets the lowest bytes, as in Triton
            array.reshape(-1).view(np.uint8)[:] = np.uint64(step.id).reshape(1).view(np.uint8)[: array.nbytes]
        return array


def _check_control(control: ControlSettings, spec: TensorSpec | None) -> None:
    where = f"sequence_batching: control input '{control.name}'"
    if spec is None:
        raise SettingsError(f"{where} is not an input of the module")
    if spec.dtype.name != control.kind:
        raise SettingsError(f"{where} is {control.kind}, but the module has {spec.dtype.name}")
    if spec.dims not in ((), (1,), (-1,)):
        raise SettingsError(f"{where} has dims {list(spec.dims)} in the module; expected [1]")


def no_sequence(model: str) -> RequestError:
    """A request to a stateful model belongs to no sequence."""
    return input_error(f"inference request to model '{model}' must specify a non-zero or non-empty correlation ID")


def no_start(model: str, step: SequenceStep) -> RequestError:
    """The request belongs to a sequence that has not been started, or has ended."""
    return input_error(
        f"inference request for sequence {step.id} to model '{model}' must specify the START flag on the first request"
        " of the sequence"
    )


def several_rows(model: str) -> RequestError:
    """The request has more than one row."""
    return input_error(
        f"inference request to model '{model}' must specify batch-size 1 due to requirements of sequence batcher"
    )
