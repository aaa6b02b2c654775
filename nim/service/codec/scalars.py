"""Scalars in requests and responses: Triton has none, so a scalar of a module is a vector of one element there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..runtime_api import Interface, TensorSpec


def served_dims(spec: TensorSpec) -> tuple[int, ...]:
    """The dims of a tensor in requests and responses, without the batch dimension."""
    return spec.dims or (1,)


class ScalarTensors:
    """The scalars of an interface. An elementwise entry needs no conversion: it returns the shape that it receives."""

    def __init__(self, interface: Interface) -> None:
        converts = interface.convention.value != "elementwise"
        self._rank = int(interface.max_batch_size > 0)
        self._inputs = {spec.name for spec in interface.inputs if converts and not spec.dims}
        self._outputs = {spec.name for spec in interface.outputs if converts and not spec.dims}

    def module_shape(self, name: str, shape: Sequence[int]) -> Sequence[int]:
        """The shape that the module receives for an input of `shape`; scalars are accepted in both forms."""
        is_vector = name in self._inputs and len(shape) == self._rank + 1 and shape[-1] == 1
        return shape[:-1] if is_vector else shape

    def module_inputs(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays that the module receives for `inputs`, without copies."""
        if not self._inputs:
            return inputs
        return {name: array.reshape(tuple(self.module_shape(name, array.shape))) for name, array in inputs.items()}

    def served_outputs(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of a response for the module's `outputs`, without copies."""
        if not self._outputs:
            return outputs
        return {name: array[..., np.newaxis] if name in self._outputs else array for name, array in outputs.items()}
