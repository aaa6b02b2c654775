"""Limits of a guest. Every limit is always set; the result of exceeding it is documented with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .errors import SettingsError

MIB = 1 << 20
MAX_LIMITS: Final[dict[str, tuple[float, str]]] = {
    "max_memory_bytes": (4 << 30, "4 GiB (wasm32)"),
    "timeout_s": (1e9, "1e9 s"),
    "compile_timeout_s": (1e6, "1e6 s"),  # the operating system waits for a process in 32-bit milliseconds
    "max_stack_bytes": (4 * MIB, "4 MiB"),  # a guest runs on the caller's thread, which has 8 MiB on Linux
}
"""Maximum value of a limit, and its text. Above it the engine or the operating system fails."""


@dataclass(frozen=True)
class Limits:
    """Limits of one program.

    - ``max_memory_bytes``: linear memory, tensors included. Beyond it ``memory.grow`` returns -1, and tensors that do
      not fit raise MemoryLimit.
    - ``timeout_s``: wall time of one guest call, start function included. The guest is interrupted: GuestTimeout.
    - ``max_module_bytes``: size of the ``.wasm`` file. ModuleError, before the file is read.
    - ``compile_timeout_s``: wall time of compiling the module. ModuleError.
    - ``max_output_bytes``: stdout and stderr kept for the log, each, per call. The remainder is counted and dropped.
    - ``max_stdout_bytes``: stdout (and stderr) of a ``command``, whose output is its result. GuestError.
    - ``max_stack_bytes``: the guest's call stack. A deeper call traps.
    - ``max_tensor_bytes``: all outputs of one guest call, or of all rows of a ``command``. GuestError; InputError
      before the guest runs if the shapes of the inputs determine the size of the outputs.
    - ``max_bytes_elements``: elements of one BYTES output, each of which becomes an object. GuestError.

    The host's work for a call (WASI functions, reading a BYTES output) is limited by ``timeout_s`` too. A single
    ``memory.fill`` or ``memory.copy`` is not interrupted, so a guest can exceed its time limit by the duration of one
    of them: at most about 0.5 s for each GiB of ``max_memory_bytes``.
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
        problems = [p for name, value in values.items() if (p := self._value_error(name, value))]
        if not any("number" in problem for problem in problems):
            problems += [
                f"{name} must be at most {text}, not {values[name]!r}"
                for name, (maximum, text) in MAX_LIMITS.items()
                if values[name] > maximum
            ]
        if problems:
            raise SettingsError("; ".join(problems))

    def _value_error(self, name: str, value: object) -> str:
        whole = self.__dataclass_fields__[name].type == "int"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            return f"{name} must be a {'whole ' if whole else ''}number, not {value!r:.80}"
        return "" if value > 0 else f"{name} must be greater than 0, not {value!r}"
