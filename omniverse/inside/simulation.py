"""Runs modules as steps of a simulation: in each update of Kit, over the attributes that they are bound to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .attributes import Arrays, StageAttributes
from .log import Failures
from .steps import Binding, step


class Simulation:
    """Steps modules sequentially, in the order in which they were bound.

    They read and write `arrays`, or the stage that is open in Kit if `arrays` is None. If a module fails, the log
    reports it once, and the module is stopped until it is bound again or `resume` is called; the others continue.
    """

    def __init__(self, programs: Any, failures: Failures, stage: Callable[[], Any]) -> None:
        self._programs = programs
        self._failures = failures
        self._stage = stage
        self._bound: dict[str, Binding] = {}
        self._stopped: set[str] = set()
        self.arrays: Arrays | None = None
        self.paused = False
        self.steps = 0

    def bind(
        self, module: str, inputs: Mapping[str, str] | None = None, outputs: Mapping[str, str] | None = None
    ) -> None:
        """Step `module` in each update; `inputs` and `outputs` map its tensors to attributes (``/World/P.points``).

        Raises LookupError for an unknown module, ValueError for tensors that it does not have.
        """
        binding = Binding(module, dict(inputs or {}), dict(outputs or {}))
        binding.check(self._programs.get(module).interface)
        self._bound[module] = binding
        self._stopped.discard(module)

    def unbind(self, module: str) -> None:
        """Stop stepping `module`."""
        self._bound.pop(module, None)
        self._stopped.discard(module)

    def resume(self) -> None:
        """Step the modules again that were stopped because they failed."""
        self._stopped.clear()

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The bindings, in order."""
        return tuple(self._bound.values())

    @property
    def still(self) -> tuple[str, ...]:
        """The modules that were stopped because they failed."""
        return tuple(sorted(self._stopped))

    def step(self, dt: float) -> None:
        """Step all bound modules by `dt` seconds. Kit calls this method in each update; it raises no exception."""
        running = [binding for name, binding in self._bound.items() if name not in self._stopped]
        arrays = None if self.paused or not running else self._arrays()
        if arrays is None:
            return
        for binding in running:
            what = f"the step of module {binding.module}"
            try:
                step(binding, self._programs.get(binding.module).interface, arrays, self._programs.run, dt)
            except Exception as error:  # noqa: BLE001  # Kit would log it in each frame
                self._stopped.add(binding.module)
                self._failures.failed(what, error, "it is stopped until simulation.resume()")
            else:
                self._failures.works(what)
        self.steps += 1

    def _arrays(self) -> Arrays | None:
        if self.arrays is not None:
            return self.arrays
        stage = self._stage()
        return None if stage is None else StageAttributes(stage)

    def close(self) -> None:
        """Remove all bindings."""
        self._bound.clear()
        self.arrays = None
