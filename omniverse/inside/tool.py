"""The tool's operations, which its window, command and command line call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .log import Failures, short

USAGE = "MODULE INPUTS.npz OUTPUTS.npz, or `list`"


class Tool:
    """Runs modules on files of arrays."""

    def __init__(self, programs: Any, failures: Failures) -> None:
        self._programs = programs
        self._failures = failures

    def describe(self) -> list[str]:
        """One line per module, with its inputs and outputs."""
        return [self._line(name) for name in self._programs.names]

    def run_file(self, module: str, inputs: str, outputs: str) -> bool:
        """Run `module` with the arrays of an .npz file, named by its inputs, and write its outputs to another file.

        Returns whether it succeeded; the log reports a failure once.
        """
        what = f"module {module} with {inputs}"
        try:
            with np.load(inputs, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            results = self._programs.run(module, arrays)
            # strings as fixed-length bytes: object arrays would be pickled, which is not safe to load
            arrays = {name: array.astype("S") if array.dtype == object else array for name, array in results.items()}
            np.savez(outputs, **arrays)
        except Exception as error:  # noqa: BLE001  # the user finds it in the log
            self._failures.failed(what, error)
            return False
        self._failures.works(what)
        return True

    def command(self, arguments: Sequence[str]) -> tuple[int, list[str]]:
        """Run a command line; returns its exit status and its output lines."""
        if list(arguments) == ["list"]:
            return 0, self.describe()
        if len(arguments) != 3:
            return 2, [f"usage: {USAGE}"]
        done = self.run_file(*arguments)
        return (0, [f"wrote {Path(arguments[2]).resolve()}"]) if done else (1, [])

    def _line(self, name: str) -> str:
        try:
            interface = self._programs.get(name).interface
        except Exception as error:  # noqa: BLE001  # the other modules are still listed
            return f"{name}: {short(error)}"
        inputs, outputs = (
            ", ".join(f"{each.name} {each.dtype.name} {list(each.dims)}" for each in side)
            for side in (interface.inputs, interface.outputs)
        )
        return f"{name}: {inputs} -> {outputs}"
