"""Calls a module with bound arrays: reads its inputs, calls it, and writes its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .attributes import Arrays

Run = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
TIME = "dt"


@dataclass(frozen=True)
class Binding:
    """The paths of the arrays that a module's inputs are read from and its outputs are written to.

    Unbound outputs are dropped. An unbound input named ``dt`` gets the seconds since the last step.
    """

    module: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)

    def check(self, interface: Any) -> None:
        """Raise ValueError for tensors that the module does not have, and for required inputs that are not bound."""
        inputs = {each.name: each for each in interface.inputs}
        outputs = [each.name for each in interface.outputs]
        problems = [f"it has no input {name!r}" for name in self.inputs if name not in inputs]
        problems += [f"it has no output {name!r}" for name in self.outputs if name not in outputs]
        problems += [
            f"its input {name!r} is not bound"
            for name, each in inputs.items()
            if name not in self.inputs and not each.optional and name != TIME
        ]
        if problems:
            tensors = f"inputs {', '.join(inputs)}; outputs {', '.join(outputs)}"
            raise ValueError(f"module {self.module}: {'; '.join(problems)} ({tensors})")


def step(binding: Binding, interface: Any, arrays: Arrays, run: Run, dt: float = 0.0) -> None:
    """One step of `dt` seconds. `interface` is the module's; `run` calls the module with inputs by name.

    Raises LookupError for missing arrays, ValueError for arrays that do not match, WasmError if the guest fails.
    Outputs are written only if the module succeeds.
    """
    specs = {each.name: each for each in interface.inputs}
    read = {name: _converted(arrays.read(path), specs[name]) for name, path in binding.inputs.items()}
    # if no array has a batch dimension, a batch of one is added, and removed from the outputs
    unbatched = _batched(interface) and all(array.ndim == len(specs[name].dims) for name, array in read.items())
    inputs = {name: array[np.newaxis] for name, array in read.items()} if unbatched else read
    if TIME in specs and TIME not in binding.inputs:
        inputs[TIME] = _time(dt, specs[TIME], interface)
    results = run(binding.module, inputs)
    for name, path in binding.outputs.items():
        arrays.write(path, results[name][0] if unbatched else results[name])


def _exact(interface: Any) -> bool:
    """Whether shapes are the declared ones, without loop dimensions."""
    return interface.convention.value in ("dlpack", "command")


def _batched(interface: Any) -> bool:
    return _exact(interface) and interface.max_batch_size > 0


def _converted(array: np.ndarray, spec: Any) -> np.ndarray:
    expected = spec.dtype.numpy
    if array.dtype == expected:
        return array
    if not np.can_cast(array.dtype, expected, "same_kind"):
        raise ValueError(f"expected {expected} for input {spec.name!r}, got {array.dtype}")
    return array.astype(expected)


def _time(dt: float, spec: Any, interface: Any) -> np.ndarray:
    sizes = (1,) * _batched(interface) + tuple(1 if size == -1 else size for size in spec.dims)
    return np.full(sizes if _exact(interface) else (), dt, dtype=spec.dtype.numpy)
