"""Finds a Python interpreter that can run this package in a separate process.

Inside an embedding application (Triton's Python stub, Omniverse Kit) ``sys.executable`` can be empty, the application
itself, or a Python of a different version. So candidates are run once per process, to test them.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROBE_TIMEOUT_S = 30.0
# no environment, no user or site packages, no bytecode files
ISOLATED = ("-I", "-S", "-B")
PYTHON = "python{}.{}".format(*sys.version_info[:2])
_PROBE = "import json, sys; sys.path += json.loads(sys.argv[1]); import wasmtime; print(sys.version_info[:2])"
# variables that a Python can need to start
_INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


def environment() -> dict[str, str]:
    """The minimal environment of a child process. OpenBLAS, which NumPy loads, must not start threads."""
    return {"OPENBLAS_NUM_THREADS": "1"} | {name: os.environ[name] for name in _INHERITED if name in os.environ}


def module_path() -> list[str]:
    """The module search path of this process, which a child appends to its own standard library."""
    return [str(Path(entry).absolute()) for entry in sys.path if entry and Path(entry).exists()]


def _candidates() -> Iterator[str]:
    yield os.environ.get("PORTALIS_PYTHON", "")
    yield sys.executable or ""
    yield getattr(sys, "_base_executable", "") or ""
    for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix):
        yield str(Path(prefix) / "bin" / PYTHON)
    for name in (PYTHON, "python3", "python"):
        yield shutil.which(name) or ""


def _works(python: str) -> bool:
    command = [python, *ISOLATED, "-c", _PROBE, json.dumps(module_path())]
    try:
        output = subprocess.check_output(
            command, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=PROBE_TIMEOUT_S
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return False
    return output.strip() == repr(tuple(sys.version_info[:2])).encode()


_found: list[str] = []  # only success is cached: a candidate that timed out can work later


def find_interpreter() -> str:
    """The path of a Python of this version that can import wasmtime, or "". A success is cached."""
    if not _found:
        usable = (each for each in _candidates() if Path(each).is_absolute() and os.access(each, os.X_OK))
        _found.extend(itertools.islice(filter(_works, dict.fromkeys(usable)), 1))
    return _found[0] if _found else ""
