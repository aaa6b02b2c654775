"""The extension as a tool: what its window and its command line do, without either."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .log import Failures, short

USAGE = "MODULE INPUTS.npz OUTPUTS.npz, or `list`"


class Tool:
    """Runs modules over files of arrays."""

    def __init__(self, programs: Any, failures: Failures) -> None:
        self._programs = programs
        self._failures = failures

    def describe(self) -> list[str]:
        """A line for each module: what it takes and gives."""
        return [self._line(name) for name in self._programs.names]

    def run_file(self, module: str, inputs: str, outputs: str) -> bool:
        """Run `module` over the arrays in an .npz, by the names of its inputs, and write its outputs to another.

        Whether it went well; if not, the log says once why.
        """
        what = f"module {module} over {inputs}"
        try:
            with np.load(inputs, allow_pickle=False) as given:
                arrays = {name: given[name] for name in given.files}
            made = self._programs.run(module, arrays)
            # texts as fixed-length bytes: object arrays would be pickled, which nobody should have to read
            np.savez(
                outputs, **{name: array.astype("S") if array.dtype == object else array for name, array in made.items()}
            )
        except Exception as problem:  # noqa: BLE001  # a person reads it in the log
            self._failures.failed(what, problem)
            return False
        self._failures.works(what)
        return True

    def command(self, words: Sequence[str]) -> tuple[int, list[str]]:
        """What a command line does: its exit status, and the lines that it prints."""
        if list(words) == ["list"]:
            return 0, self.describe()
        if len(words) != 3:
            return 2, [f"what is wanted is {USAGE}"]
        done = self.run_file(*words)
        return (0, [f"wrote {Path(words[2]).resolve()}"]) if done else (1, [])

    def _line(self, name: str) -> str:
        try:
            interface = self._programs.get(name).interface
        except Exception as problem:  # noqa: BLE001  # the others are still told
            return f"{name}: {short(problem)}"
        takes, gives = (
            ", ".join(f"{each.name} {each.dtype.name} {list(each.dims)}" for each in side)
            for side in (interface.inputs, interface.outputs)
        )
        return f"{name}: {takes} -> {gives}"
