"""The extension's modules, loaded when they are wanted and called with NumPy arrays. Nothing here needs Kit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .runtime import runtime

OnOutput = Callable[[str, str], None]


class Programs:
    """All modules. Safe in several threads at once, but for `close`.

    `table` says of each module its file below `root`, its entry and its declared interface.
    """

    def __init__(
        self,
        root: Path,
        table: Mapping[str, Mapping[str, Any]],
        limits: Mapping[str, Any],
        on_output: OnOutput | None = None,
    ) -> None:
        """Raises SettingsError for limits that cannot be."""
        self._table = table
        self._root = root
        self._limits = runtime().Limits(**limits)
        self._on_output = on_output
        self._loaded: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the modules."""
        return tuple(self._table)

    @property
    def limits(self) -> Any:
        """The limits of the next call."""
        return self._limits

    def limit(self, limits: Mapping[str, Any]) -> None:
        """Set other limits. Modules are loaded anew at their next call; calls that run end under the old ones.

        Raises SettingsError for limits that cannot be; the old ones stay.
        """
        made = runtime().Limits(**limits)
        with self._lock:
            if made != self._limits:
                self._limits = made
                # not closed: a call may be in them. They are freed once nobody has them
                self._loaded.clear()

    def get(self, module: str, function: str | None = None) -> Any:
        """The module with this export as its entry; with the entry that its interface names when it is None.

        Raises LookupError for a name that is not there, WasmError for a module that cannot be loaded.
        """
        if module not in self._table:
            raise LookupError(f"there is no module {module!r}; there are {', '.join(self._table)}")
        about = self._table[module]
        entry = function or about["entry"]
        with self._lock:
            if (module, entry) not in self._loaded:
                declared = about["interface"] if entry == about["entry"] else {"entry": entry}
                self._loaded[module, entry] = runtime().Program.load(
                    self._root / about["file"],
                    interface=declared,
                    limits=self._limits,
                    on_output=self._on_output,
                    setting_names=runtime().setting_names.KIT_NAMES,
                )
            return self._loaded[module, entry]

    def run(self, module: str, inputs: Mapping[str, Any], function: str | None = None) -> dict[str, Any]:
        """Call an export with arrays by the names of its inputs (None is left out); its outputs by name."""
        given = {name: value for name, value in inputs.items() if value is not None}
        return _run(self.get(module, function), given)

    def call(self, module: str, function: str | None, *args: Any) -> Any:
        """Call an export with arrays in the order of its inputs; its output, or a tuple of several."""
        program = self.get(module, function)
        inputs = program.interface.inputs
        needed = sum(not each.optional for each in inputs)
        if not needed <= len(args) <= len(inputs):
            names = ", ".join(each.name for each in inputs)
            entry = program.interface.entry
            raise TypeError(f"{entry} takes {len(inputs)} arrays ({names}), not {len(args)}")
        given = {each.name: value for each, value in zip(inputs, args) if value is not None}
        outputs = tuple(_run(program, given).values())
        return outputs[0] if len(outputs) == 1 else outputs

    def close(self) -> None:
        """Free all instances. Arrays that were returned stay valid."""
        with self._lock:
            for program in self._loaded.values():
                program.close()
            self._loaded.clear()


def _run(program: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        outputs: dict[str, Any] = program.run(given)
    except runtime().WasmError as problem:
        # Kit shows what nobody catches with every frame of it, twice: those of the runtime say nothing to anybody
        raise problem.with_traceback(None) from None
    return outputs
