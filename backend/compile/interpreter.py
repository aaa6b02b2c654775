"""Finds a Python interpreter that can run this package in a child process.

Inside an embedding program (Triton's python stub, Omniverse Kit) ``sys.executable`` may be empty, that
program itself, or a Python of another version. So candidates are tried by running them, once per process.
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
# No environment, no user or site packages, and nothing is written beside the sources.
ISOLATED = ("-I", "-S", "-B")
PYTHON = "python{}.{}".format(*sys.version_info[:2])
_PROBE = "import json, sys; sys.path += json.loads(sys.argv[1]); import wasmtime; print(sys.version_info[:2])"
# What a Python may need to start at all; everything else stays out of the child.
_PASSED_ON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


def environment() -> dict[str, str]:
    """The environment for a child: hardly anything. OpenBLAS, which NumPy starts, shall not start threads."""
    return {"OPENBLAS_NUM_THREADS": "1"} | {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def module_path() -> list[str]:
    """Where this process finds its modules, for a child to append to its own standard library."""
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
        told = subprocess.check_output(
            command, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=PROBE_TIMEOUT_S
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return False
    return told.strip() == repr(tuple(sys.version_info[:2])).encode()


_found: list[str] = []  # only success is remembered: a machine too busy to answer may answer later


def find_interpreter() -> str:
    """The path of a Python of this version that can import wasmtime, "" if there is none. Found once."""
    if not _found:
        usable = (each for each in _candidates() if Path(each).is_absolute() and os.access(each, os.X_OK))
        _found.extend(itertools.islice(filter(_works, dict.fromkeys(usable)), 1))
    return _found[0] if _found else ""
