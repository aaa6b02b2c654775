"""The child process of `compiler`: compiles the module on standard input to machine code on standard output.

It is run as a script and by path (``python -I -S -B compiler_process.py JOB``) because nobody knows the
package's name here: the island may be installed, copied under another name, or a bare folder. JOB is JSON.
The last line on standard error is JSON too: ``{"bytes": n}`` when all is well, ``{"refused": text}`` when the
compiler refused the module, ``{"failed": text}`` for anything else; a process that ends without one crashed
or was killed.
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
_ADDRESS_SPACE_PER_CPU = 256 << 20  # a compiler thread's stack and malloc arena: reserved, hardly used


def confine(memory_bytes: int, cpu_s: int) -> None:
    """Bound this process for good: memory, CPU time, size of the output, no core file, no new privileges.

    A limit that the system does not have is left out: the deadline that the parent keeps holds everywhere.
    """
    with contextlib.suppress(ImportError):  # Windows
        import resource

        reserved = memory_bytes + (1 << 30) + (os.cpu_count() or 1) * _ADDRESS_SPACE_PER_CPU
        for name, bound in {
            "RLIMIT_DATA": memory_bytes,  # what is really written to
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
        # Where the machine has less memory than the limit, this process shall go and not the server.
        with contextlib.suppress(OSError), Path("/proc/self/oom_score_adj").open("w") as score:
            score.write("1000")


def exit_with_parent(parent: int) -> None:
    """Let the kernel kill this process when `parent` is gone, however it went (Linux only)."""
    if sys.platform == "linux":
        CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it was gone before the line above
            sys.exit(1)


def import_engine(folder: str) -> Any:
    """The island's `engine` module, without running the package's ``__init__``, which imports everything."""
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
    """Do the job in the first argument and say on standard error how it went."""
    job = json.loads(sys.argv[1])
    exit_with_parent(job["parent"])
    confine(job["memory_bytes"], job["cpu_s"])
    sys.path.extend(path for path in job["path"] if path not in sys.path)
    try:
        with open(0, "rb") as source:
            report: dict[str, Any] = {"bytes": compile_to(1, source.read(), job["settings"], job["folder"])}
    except Exception as error:  # noqa: BLE001  # whatever it is, the parent has to know
        refused = type(error).__name__ == "WasmtimeError"
        report = {"refused": str(error)} if refused else {"failed": f"{type(error).__name__}: {error}"}
    sys.stderr.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
