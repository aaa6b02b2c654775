"""Compiles modules to machine code within limits of time and memory.

A few kilobytes of WebAssembly can keep the compiler busy for minutes and use gigabytes of memory, and it cannot be
stopped within its process. So an untrusted module is compiled in a separate process, which can be killed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import wasmtime

from ..errors import ModuleError
from ..setting_names import TRITON_NAMES, SettingNames
from ..wasm.proposals import proposal_in_message, refusal_text
from .engine import EngineSettings, engine_for
from .interpreter import ISOLATED, PYTHON, environment, find_interpreter, module_path

IN_PROCESS_BYTES = 2048
"""Maximum size of an untrusted module that is compiled in this process: starting another takes 0.3 s.

The worst known modules (two cores, wasmtime 50) take 0.5 s and 0.3 GiB at 2 KiB, with functions that declare 50,000
locals or loops that carry hundreds of values; they take 6 s and 2 GiB at 4 KiB, and minutes at 16 KiB.
"""

_COMPILER_PROCESS = Path(__file__).with_name("compiler_process.py")
_FUNCTION = re.compile(r"failed to compile: wasm\[\d+\]::function\[(\d+)\](?:::(.*))?")
_AT_OFFSET = re.compile(r"Invalid input WebAssembly code at offset (\d+): (.*)", re.DOTALL)
_NO_MEMORY = re.compile(r"memory allocation of|MemoryError|Cannot allocate memory|os error 12\b|File too large")


def compile_module(
    wasm: bytes,
    settings: EngineSettings,
    *,
    timeout_s: float,
    trusted: bool,
    memory_bytes: int = 4 << 30,
    name: str = "the module",
    setting_names: SettingNames = TRITON_NAMES,
) -> bytes:
    """The machine code of `wasm` for engines with `settings`, serialized.

    A module that is neither `trusted` nor tiny is compiled in a separate process, limited to `timeout_s` seconds of
    wall time and `memory_bytes` of memory. Raises ModuleError if the module is invalid or exceeds a limit; the error
    refers to the module as `name`, and to settings as in `setting_names`.
    """
    if not wasm.startswith(b"\0asm"):  # wasmtime would parse it as the text format
        raise ModuleError(f"{name} is not a WebAssembly module: it does not begin with \\0asm")
    if trusted or len(wasm) <= IN_PROCESS_BYTES:
        try:
            return bytes(wasmtime.Module(engine_for(settings), wasm).serialize())
        except wasmtime.WasmtimeError as error:
            raise ModuleError(f"{name} {explain_compile_failure(str(error))}") from None
    return _run_compiler_process(wasm, settings, timeout_s, memory_bytes, name, setting_names)


def explain_compile_failure(text: str) -> str:
    """A compiler error as one line without a subject: location, cause and offset.

    For a proposal that the sandbox disables it is the build option to avoid the proposal.
    """
    head, _, causes = text.strip().partition("\n\nCaused by:\n")
    steps = [re.sub(r"^\d+: ", "", line.strip()) for line in causes.splitlines() if line.strip()]
    cause = steps[-1] if steps else head
    invalid = _AT_OFFSET.search(cause)
    proposal = proposal_in_message(invalid[2] if invalid else cause)
    if invalid:
        cause = f"{invalid[2]} (at offset 0x{int(invalid[1]):x})"
    if proposal is not None:
        return refusal_text(proposal, cause)
    function = _FUNCTION.match(head)
    if function:
        cause = f"function {function[1]}{f' ({function[2]})' if function[2] else ''}: {cause}"
    return f"is not valid WebAssembly: {cause}" if invalid or not function else f"cannot be compiled: {cause}"


def _run_compiler_process(
    wasm: bytes, settings: EngineSettings, timeout_s: float, memory_bytes: int, name: str, setting_names: SettingNames
) -> bytes:
    python = find_interpreter()
    if not python:
        # Compiling in this process could not be stopped. A fork of it would inherit locks of threads of the server and
        # the compiler, and its memory could not be limited.
        raise ModuleError(
            f"{name} cannot be compiled: no {PYTHON} with wasmtime was found for the compiler process, which untrusted"
            f" modules require (set PORTALIS_PYTHON to one{_or_trusted(setting_names)})"
        )
    job = {
        "folder": str(_COMPILER_PROCESS.parent.parent),
        "path": module_path(),
        "settings": asdict(settings),
        "memory_bytes": memory_bytes,
        "cpu_s": math.ceil(timeout_s * (os.cpu_count() or 1)) + 1,
        "parent": os.getpid(),
    }
    try:
        code, status, messages = _run([python, *ISOLATED, str(_COMPILER_PROCESS), json.dumps(job)], wasm, timeout_s)
    except subprocess.TimeoutExpired:
        raise ModuleError(
            f"{name} ({len(wasm)} bytes) took longer to compile than the limit of {timeout_s:g} s and was"
            f" stopped (raise {setting_names.limit_name('compile_timeout_s')}{_or_trusted(setting_names)})"
        ) from None
    except OSError as error:
        raise ModuleError(f"{name} cannot be compiled: no process can be started: {error.strerror}") from None
    return _result(code, status, messages, name, memory_bytes, setting_names)


def _or_trusted(setting_names: SettingNames) -> str:
    return f", or {setting_names.trusted} if its author is trusted" if setting_names.trusted else ""


def _run(command: list[str], wasm: bytes, timeout_s: float) -> tuple[bytes, int, str]:
    """Run `command` with `wasm` on its standard input; returns its standard output, exit status and standard error."""
    with _anonymous_file() as source, _anonymous_file() as output:
        source.write(wasm)
        source.seek(0)
        with subprocess.Popen(
            command, env=environment(), stdin=source, stdout=output, stderr=subprocess.PIPE, start_new_session=True
        ) as child:
            try:
                messages = child.communicate(timeout=timeout_s)[1]
            finally:
                _kill(child)
        output.seek(0)
        return output.read(), child.returncode, messages.decode(errors="replace")


def _result(
    code: bytes, status: int, messages: str, name: str, memory_bytes: int, setting_names: SettingNames
) -> bytes:
    """The machine code, if the process reports that it wrote all of it. Raises ModuleError otherwise."""
    lines = messages.strip().splitlines() or ["it gave no reason"]
    report: dict[str, Any] = json.loads(lines[-1]) if lines[-1].startswith("{") else {}
    if code and report.get("bytes") == len(code):
        return code
    reason = str(report.get("refused") or report.get("failed") or lines[0])
    if _NO_MEMORY.search(reason):
        raise ModuleError(
            f"{name} needs more memory to compile than the limit of {memory_bytes >> 20} MiB"
            f" (build it with smaller functions{_or_trusted(setting_names)})"
        )
    if "refused" in report:
        raise ModuleError(f"{name} {explain_compile_failure(reason)}")
    ending = f"signal {-status}" if status < 0 else f"exit status {status}"
    raise ModuleError(f"{name} cannot be compiled: the compiler process failed ({ending}): {reason}")


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill `child` and all processes that it started, if it still runs."""
    if child.poll() is None:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        child.kill()


def _anonymous_file() -> IO[bytes]:
    """A file without a name, in memory if the operating system supports it."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("portalis", os.MFD_CLOEXEC), "w+b")
    return tempfile.TemporaryFile()  # pragma: no cover  # not Linux
