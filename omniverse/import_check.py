"""Imports the Python of an extension after it was written, in a process of its own and without Kit: a name that Python
does not take as it was put there would cost all modules of the extension, and only where Kit starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from .publish_check import Fault

PROBE = Path(__file__).with_name("import_probe.py")
TIMEOUT_S = 120
_SHOWN = 300  # characters of a reason: a name in it may be of any length


def check(folder: Path, identifier: str) -> list[Fault]:
    """What cannot be imported of the extension `identifier` in `folder`, where nothing is left behind."""
    # -S: nothing that is installed here is needed; -B: no bytecode is written
    command = [sys.executable, "-I", "-S", "-B", str(PROBE), str(folder), identifier]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        found = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return [_fault(identifier, f"the import did not end within {TIMEOUT_S} s")]
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return [_fault(identifier, last[0])]
    return [_fault(name, why) for name, why in found]


def _fault(name: str, why: str) -> Fault:
    return Fault(
        what=f"{name} cannot be imported: {why[:_SHOWN]}",
        remedy="Give the tensors and modules that it names other names in the spec, and please report this.",
    )
