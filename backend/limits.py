"""What a guest may use. Every limit is always set; what happens when it is hit stands beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .errors import SettingsError

MIB = 1 << 20
MAX_LIMITS: Final[dict[str, tuple[float, str]]] = {
    "max_memory_bytes": (4 << 30, "4 GiB (wasm32)"),
    "timeout_s": (1e9, "1e9 s"),
    "compile_timeout_s": (1e6, "1e6 s"),  # the system waits for a process in milliseconds of 32 bits
    "max_stack_bytes": (4 * MIB, "4 MiB"),  # a guest runs on the caller's thread, which has 8 MiB on Linux
}
"""The largest value of a limit, and how it is written. Above it the engine or the system fails."""


@dataclass(frozen=True)
class Limits:
    """Limits of one program.

    - ``max_memory_bytes``: linear memory, tensors included. ``memory.grow`` returns -1 past it; tensors that do not fit
      end in MemoryLimit.
    - ``timeout_s``: wall time of one guest call, start function included. The guest is interrupted: GuestTimeout.
    - ``max_module_bytes``: size of the ``.wasm`` file. ModuleError before anything is read.
    - ``compile_timeout_s``: wall time of compiling the module. ModuleError.
    - ``max_output_bytes``: stdout and stderr kept for the log, each, in one call; the rest is counted and dropped.
    - ``max_stdout_bytes``: stdout (and stderr) of a ``command``, whose output is its result. GuestError past it.
    - ``max_stack_bytes``: the guest's call stack. A deeper call traps.
    - ``max_tensor_bytes``: all outputs of one guest call, or of all rows of a ``command``. GuestError past it;
      InputError, before the guest runs, where the inputs' shapes decide how large the outputs are.
    - ``max_bytes_elements``: elements of one BYTES output, each of which becomes an object. GuestError past it.

    The host's own work for a call (WASI functions, reading a BYTES output) ends with ``timeout_s`` too. One
    ``memory.fill`` or ``memory.copy`` is not interrupted, so a guest can outlast its time by as long as one of them
    takes: at most about 0.5 s for each GiB of ``max_memory_bytes``.
    """

    max_memory_bytes: int = 256 * MIB
    timeout_s: float = 10.0
    max_module_bytes: int = 256 * MIB
    compile_timeout_s: float = 60.0
    max_output_bytes: int = 64 << 10
    max_stdout_bytes: int = 16 * MIB
    max_stack_bytes: int = 1 * MIB
    max_tensor_bytes: int = 1 << 30
    max_bytes_elements: int = 1 << 20

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        problems = [p for name, value in values.items() if (p := self._not_a_limit(name, value))]
        if not any("number" in problem for problem in problems):
            problems += [
                f"{name} must be at most {words}, not {values[name]!r}"
                for name, (most, words) in MAX_LIMITS.items()
                if values[name] > most
            ]
        if problems:
            raise SettingsError("; ".join(problems))

    def _not_a_limit(self, name: str, value: object) -> str:
        whole = self.__dataclass_fields__[name].type == "int"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            return f"{name} must be a {'whole ' if whole else ''}number, not {value!r:.80}"
        return "" if value > 0 else f"{name} must be greater than 0, not {value!r}"
