"""The extension as a part of a simulation: in each update of Kit, modules step over what they are bound to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .attributes import Arrays, StageAttributes
from .log import Failures
from .steps import Binding, step


class Simulation:
    """Steps modules, one after the other, in the order in which they were bound.

    `arrays` is where they read and write: the stage that Kit has open when None. A module that fails is told in the log
    once, and stands still until it is bound again or `resume` is called; the others go on.
    """

    def __init__(self, programs: Any, failures: Failures, stage: Callable[[], Any]) -> None:
        self._programs = programs
        self._failures = failures
        self._stage = stage
        self._bound: dict[str, Binding] = {}
        self._still: set[str] = set()
        self.arrays: Arrays | None = None
        self.paused = False
        self.steps = 0

    def bind(
        self, module: str, inputs: Mapping[str, str] | None = None, outputs: Mapping[str, str] | None = None
    ) -> None:
        """Step `module` in each update; `inputs` and `outputs` map its names to attributes (``/World/P.points``).

        Raises LookupError for a module that is not there, ValueError for names that it has not.
        """
        binding = Binding(module, dict(inputs or {}), dict(outputs or {}))
        binding.check(self._programs.get(module).interface)
        self._bound[module] = binding
        self._still.discard(module)

    def unbind(self, module: str) -> None:
        """Step `module` no longer."""
        self._bound.pop(module, None)
        self._still.discard(module)

    def resume(self) -> None:
        """Step those again that stand still because they failed."""
        self._still.clear()

    @property
    def still(self) -> tuple[str, ...]:
        """The modules that stand still because they failed."""
        return tuple(sorted(self._still))

    def step(self, dt: float) -> None:
        """One step of `dt` seconds of all that is bound. Kit calls it in each update; nothing is raised."""
        moving = [binding for name, binding in self._bound.items() if name not in self._still]
        arrays = None if self.paused or not moving else self._where()
        if arrays is None:
            return
        for binding in moving:
            what = f"the step of module {binding.module}"
            try:
                step(binding, self._programs.get(binding.module).interface, arrays, self._programs.run, dt)
            except Exception as problem:  # noqa: BLE001  # Kit would tell of it in each frame
                self._still.add(binding.module)
                self._failures.failed(what, problem, "it stands still until simulation.resume()")
            else:
                self._failures.works(what)
        self.steps += 1

    def _where(self) -> Arrays | None:
        if self.arrays is not None:
            return self.arrays
        stage = self._stage()
        return None if stage is None else StageAttributes(stage)

    def close(self) -> None:
        """Forget everything."""
        self._bound.clear()
        self.arrays = None
