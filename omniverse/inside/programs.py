"""Loads the extension's modules on demand and calls them with NumPy arrays. This file does not require Kit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .runtime import runtime

OnOutput = Callable[[str, str], None]


class Programs:
    """All modules of the extension. Thread-safe, except for `close`.

    `table` contains, for each module, its file relative to `root`, its entry and its declared interface.
    """

    def __init__(
        self,
        root: Path,
        table: Mapping[str, Mapping[str, Any]],
        limits: Mapping[str, Any],
        on_output: OnOutput | None = None,
    ) -> None:
        """Raises SettingsError for invalid limits."""
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
        """Set new limits. Modules are loaded again at their next call; running calls end with the previous limits.

        Raises SettingsError for invalid limits, and keeps the previous ones.
        """
        new = runtime().Limits(**limits)
        with self._lock:
            if new != self._limits:
                self._limits = new
                # not closed, because a call might be running; they are freed with their last reference
                self._loaded.clear()

    def get(self, module: str, function: str | None = None) -> Any:
        """The module with the export `function` as its entry; None selects the entry of its interface.

        Raises LookupError for an unknown module, WasmError for a module that cannot be loaded.
        """
        if module not in self._table:
            raise LookupError(f"unknown module {module!r}, expected one of {', '.join(self._table)}")
        row = self._table[module]
        entry = function or row["entry"]
        with self._lock:
            if (module, entry) not in self._loaded:
                declared = row["interface"] if entry == row["entry"] else {"entry": entry}
                self._loaded[module, entry] = runtime().Program.load(
                    self._root / row["file"],
                    interface=declared,
                    limits=self._limits,
                    on_output=self._on_output,
                    setting_names=runtime().setting_names.KIT_NAMES,
                )
            return self._loaded[module, entry]

    def run(self, module: str, inputs: Mapping[str, Any], function: str | None = None) -> dict[str, Any]:
        """Call an export with arrays by input name; None omits an input. Returns its outputs by name."""
        arrays = {name: value for name, value in inputs.items() if value is not None}
        return _run(self.get(module, function), arrays)

    def call(self, module: str, function: str | None, *args: Any) -> Any:
        """Call an export with arrays in the order of its inputs; returns its output, or a tuple of several outputs."""
        program = self.get(module, function)
        inputs = program.interface.inputs
        required = sum(not each.optional for each in inputs)
        if not required <= len(args) <= len(inputs):
            names = ", ".join(each.name for each in inputs)
            entry = program.interface.entry
            raise TypeError(f"{entry} expects {len(inputs)} arrays ({names}), got {len(args)}")
        arrays = {each.name: value for each, value in zip(inputs, args) if value is not None}
        outputs = tuple(_run(program, arrays).values())
        return outputs[0] if len(outputs) == 1 else outputs

    def close(self) -> None:
        """Free all instances. Arrays that were returned stay valid."""
        with self._lock:
            for program in self._loaded.values():
                program.close()
            self._loaded.clear()


def _run(program: Any, arrays: Mapping[str, Any]) -> dict[str, Any]:
    try:
        outputs: dict[str, Any] = program.run(arrays)
    except runtime().WasmError as error:
        # Kit prints the traceback of an uncaught exception twice; the runtime's own frames would only be noise
        raise error.with_traceback(None) from None
    return outputs
