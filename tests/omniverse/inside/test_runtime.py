"""The runtime as an extension loads it: from a copy, under a name that only this extension uses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from portalis.omniverse import inside
from portalis.omniverse.inside import runtime
from tests import parts

SCRIPT = """
import sys
from acme.activations import runtime

module = runtime.runtime()
assert module is runtime.runtime()
loaded = [name for name in sys.modules if name.endswith(":acme:activations.program")]
print(module.Program.__name__, module.WasmError.__name__, len(loaded))
runtime.forget()
print([name for name in sys.modules if name.startswith(runtime.ISLAND)])
"""


def test_a_copy_loads_its_whole_runtime_and_forgets_it(tmp_path: Path) -> None:
    folder = tmp_path / "acme" / "activations"
    shutil.copytree(Path(inside.__path__[0]), folder)
    shutil.copytree(parts.ROOT / "backend", folder / runtime.ISLAND)
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["Program WasmError 1", "[]"]
