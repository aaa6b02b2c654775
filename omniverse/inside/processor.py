"""Processes data: calls modules with arrays, or with the attributes of a USD stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .attributes import StageAttributes
from .steps import Binding, step


class Processor:
    """Calls modules on arrays, or on the attributes of a stage."""

    def __init__(self, programs: Any) -> None:
        self._programs = programs

    def process(self, module: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Call `module` with inputs by name; returns its outputs by name. Raises the errors of `call_function`."""
        outputs: dict[str, Any] = self._programs.run(module, inputs)
        return outputs

    def process_stage(
        self, stage: Any, module: str, inputs: Mapping[str, str], outputs: Mapping[str, str], time: Any = None
    ) -> None:
        """Call `module` once with attributes of `stage` (a `Usd.Stage`).

        `inputs` and `outputs` map the module's tensors to attributes, for example ``/World/Points.points``. The output
        attributes must exist; their values are replaced at `time`, in the layer that is edited.

        Raises LookupError for a missing attribute, ValueError for a mismatch, WasmError if the guest fails.
        """
        binding, interface = Binding(module, inputs, outputs), self._programs.get(module).interface
        binding.check(interface)
        step(binding, interface, StageAttributes(stage, time), self._programs.run)
