"""The extension as a processor of data: arrays in, arrays out, over a USD stage where one is given."""

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
        """The outputs of `module` by name, for inputs by name. Raises what `call_function` raises."""
        outputs: dict[str, Any] = self._programs.run(module, inputs)
        return outputs

    def process_stage(
        self, stage: Any, module: str, inputs: Mapping[str, str], outputs: Mapping[str, str], time: Any = None
    ) -> None:
        """Call `module` once over attributes of `stage` (a `Usd.Stage`); `inputs` and `outputs` map the module's names
        to attributes, such as ``/World/Points.points``. The outputs must be there; their values are replaced at `time`,
        in the layer that is edited.

        Raises LookupError and ValueError for what is not there or does not fit, WasmError when the guest fails.
        """
        binding, interface = Binding(module, inputs, outputs), self._programs.get(module).interface
        binding.check(interface)
        step(binding, interface, StageAttributes(stage, time), self._programs.run)
