"""Omniverse Kit. NVIDIA's license applies; only tests use it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .lookup import PARTS, Missing, part


@part("kit")
def kit() -> Path:
    """The Python interpreter of an environment with Omniverse Kit, wasmtime and numpy."""
    python = PARTS / "kit" / "bin" / "python"
    how = "Omniverse Kit: `make parts` with a Python 3.12 on PATH or from pyenv (NVIDIA's license applies)"
    if not python.is_file():
        raise Missing(how)
    # the probe does not import omni.kit_app, which prompts for acceptance of the license
    probe = "import wasmtime, numpy, importlib.metadata as m; m.version('omniverse-kit')"
    done = subprocess.run([python, "-c", probe], capture_output=True, check=False)
    if done.returncode != 0:
        raise Missing(how)
    return python


@part("kit")
def kit_usd() -> Path:
    """A directory with `pxr` for the Python of `kit`, to be added to its path."""
    folder = PARTS / "kit-usd"
    if not (folder / "pxr").is_dir():
        raise Missing("USD for Omniverse Kit's Python: `make parts`")
    return folder
