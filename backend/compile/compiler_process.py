"""The compiler process: compiles the module on standard input to machine code on standard output.

`compiler` runs it as a script by path (``python -I -S -B compiler_process.py JOB``), because the name of this package
is unknown: it can be installed, copied under a different name, or a plain directory. JOB is JSON. The last line on
standard error is JSON too: ``{"bytes": n}`` on success, ``{"refused": text}`` if the compiler rejected the module, and
``{"failed": text}`` for any other error. A process that ends without it crashed or was killed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import types
from ctypes import CDLL
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_ADDRESS_SPACE_PER_CPU = 256 << 20  # stack and malloc arena of a compiler thread: reserved, mostly unused


def confine(memory_bytes: int, cpu_s: int) -> None:
    """Limit this process permanently: memory, CPU time and output size, no core file, no new privileges.

    Limits that the operating system does not support are skipped; the parent enforces its deadline everywhere.
    """
    with contextlib.suppress(ImportError):  # Windows
        import resource

        reserved = memory_bytes + (1 << 30) + (os.cpu_count() or 1) * _ADDRESS_SPACE_PER_CPU
        for name, bound in {
            "RLIMIT_DATA": memory_bytes,  # memory that is actually used
            "RLIMIT_AS": reserved,
            "RLIMIT_FSIZE": memory_bytes,
            "RLIMIT_CPU": cpu_s,
            "RLIMIT_CORE": 0,
        }.items():
            with contextlib.suppress(AttributeError, ValueError, OSError):
                limit = getattr(resource, name)
                hard = resource.getrlimit(limit)[1]
                bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)  # noqa: PLW2901
                resource.setrlimit(limit, (bound, bound))
    if sys.platform == "linux":
        CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # If the machine has less memory than the limit, the kernel must kill this process, not the server.
        with contextlib.suppress(OSError), Path("/proc/self/oom_score_adj").open("w") as score:
            score.write("1000")


def exit_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the process `parent` ends for any reason (Linux only)."""
    if sys.platform == "linux":
        CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it ended before the call above
            sys.exit(1)


def import_engine(folder: str) -> Any:
    """The module `compile.engine` of the package in `folder`, without running the package's ``__init__``."""
    package = types.ModuleType("_wasm_island")
    package.__path__ = [folder]
    sys.modules[package.__name__] = package
    return importlib.import_module(f"{package.__name__}.compile.engine")


def compile_to(output: int, wasm: bytes, settings: dict[str, Any], folder: str) -> int:
    """Compile `wasm` and write its machine code to the file descriptor `output`. Returns the size."""
    engine = import_engine(folder)
    import wasmtime

    config = engine.engine_config(engine.EngineSettings(**settings))
    code = wasmtime.Module(wasmtime.Engine(config), wasm).serialize()
    with open(output, "wb", closefd=False) as file:
        return file.write(code)


def main() -> None:
    """Run the job in the first argument and report its result on standard error."""
    job = json.loads(sys.argv[1])
    exit_with_parent(job["parent"])
    confine(job["memory_bytes"], job["cpu_s"])
    sys.path.extend(path for path in job["path"] if path not in sys.path)
    try:
        with open(0, "rb") as source:
            report: dict[str, Any] = {"bytes": compile_to(1, source.read(), job["settings"], job["folder"])}
    except Exception as error:  # noqa: BLE001  # every error is reported to the parent
        refused = type(error).__name__ == "WasmtimeError"
        report = {"refused": str(error)} if refused else {"failed": f"{type(error).__name__}: {error}"}
    sys.stderr.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
