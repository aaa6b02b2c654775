"""A module over arrays that lie somewhere: read what its inputs are bound to, call it, write its outputs."""

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
    """Which array each input of a module is read from, and where each output goes. Outputs that are not bound are
    dropped; an input called ``dt`` that is not bound gets the seconds since the last step."""

    module: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)

    def check(self, interface: Any) -> None:
        """Raise ValueError for names that the module has not, and for inputs that it lacks."""
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
            has = f"inputs {', '.join(inputs)}; outputs {', '.join(outputs)}"
            raise ValueError(f"module {self.module}: {'; '.join(problems)} ({has})")


def step(binding: Binding, interface: Any, arrays: Arrays, run: Run, dt: float = 0.0) -> None:
    """One step of `dt` seconds. `interface` is the module's, and `run` calls it with its inputs by name.

    Raises LookupError and ValueError for arrays that are not there or do not fit, WasmError when the guest fails.
    Nothing is written unless the module has ended well.
    """
    specs = {each.name: each for each in interface.inputs}
    read = {name: _converted(arrays.read(place), specs[name]) for name, place in binding.inputs.items()}
    # a batch of one is put in front where all arrays are without a batch, and taken off again
    alone = _batched(interface) and all(array.ndim == len(specs[name].dims) for name, array in read.items())
    given = {name: array[np.newaxis] for name, array in read.items()} if alone else read
    if TIME in specs and TIME not in binding.inputs:
        given[TIME] = _time(dt, specs[TIME], interface)
    made = run(binding.module, given)
    for name, place in binding.outputs.items():
        arrays.write(place, made[name][0] if alone else made[name])


def _exact(interface: Any) -> bool:
    """Whether the shapes are just the declared ones, and leading axes are not looped over."""
    return interface.convention.value in ("dlpack", "command")


def _batched(interface: Any) -> bool:
    return _exact(interface) and interface.max_batch_size > 0


def _converted(array: np.ndarray, spec: Any) -> np.ndarray:
    wanted = spec.dtype.numpy
    if array.dtype == wanted:
        return array
    if not np.can_cast(array.dtype, wanted, "same_kind"):
        raise ValueError(f"input {spec.name!r} takes {wanted}, and what it is bound to is {array.dtype}")
    return array.astype(wanted)


def _time(dt: float, spec: Any, interface: Any) -> np.ndarray:
    sizes = (1,) * _batched(interface) + tuple(1 if size == -1 else size for size in spec.dims)
    return np.full(sizes if _exact(interface) else (), dt, dtype=spec.dtype.numpy)
