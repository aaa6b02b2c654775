"""Starts a real Omniverse Kit, if one is installed, headless with an extension, and reads the extension's report.

Kit requires a certain Python (the ``omniverse-kit`` wheel: 3.12), so PORTALIS_KIT_PYTHON names the interpreter of an
environment that contains Kit; by default, portalis looks in its own environment. Users accept NVIDIA's license with
OMNI_KIT_ACCEPT_EULA: portalis does not set this variable.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PYTHON = "PORTALIS_KIT_PYTHON"
INSTALL_KIT = (
    f"set {PYTHON} to a Python 3.12 of an environment with omniverse-kit (NVIDIA's license applies), and with wasmtime"
    " and numpy if the extension does not bundle them"
)
"""The installation instructions, for messages."""
START_TIMEOUT_S = 300.0  # the first start of Kit compiles its caches
_PROBE = Path(__file__).parent / "templates" / "kit_probe.py.j2"


@dataclass(frozen=True, slots=True, kw_only=True)
class KitRun:
    """The outcome of one run of Kit."""

    returncode: int | None
    """Kit's exit status; None if it was stopped by the time limit."""
    log: str
    report: Mapping[str, Any] = field(default_factory=dict)
    """The JSON document that the extension's probe wrote; empty if it wrote none."""

    @property
    def kit(self) -> str:
        """Kit's version and build."""
        return str(self.report.get("kit", ""))

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that Kit loaded and called without an error."""
        return tuple(self.report.get("modules", ()))

    @property
    def error(self) -> str | None:
        """The reason why the run failed; None if it succeeded."""
        if self.returncode is None:
            return f"Kit did not end within {START_TIMEOUT_S:g} s"
        if not self.report:
            return f"the extension did not respond; Kit exited with status {self.returncode}: {self.errors}"
        failures = self.report.get("failures")
        if failures:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
            return f"Kit {self.kit} reported failures: {reasons}"
        if self.returncode != 0:
            return f"Kit exited with status {self.returncode}: {self.errors}"
        return None

    @property
    def errors(self) -> str:
        """The first ten lines of the log that report errors, else its last ten lines."""
        lines = self.log.splitlines()
        return "\n".join([line for line in lines if "[Error]" in line or "Error:" in line][:10] or lines[-10:])


def find_kit() -> Path | None:
    """The Python interpreter of an environment with Kit, or None."""
    named = os.environ.get(PYTHON)
    if named:
        path = Path(named)
        return path if os.access(path, os.X_OK) else None
    # `omni` is a namespace package, which other distributions can also contain
    has_kit = importlib.util.find_spec("omni") is not None and importlib.util.find_spec("omni.kit_app") is not None
    return Path(sys.executable) if has_kit else None


def run_extension(python: Path, folder: Path) -> KitRun:
    """Run Kit with the extension in `folder`, which is named by its id, and call each of its modules once.

    Kit uses a copy of `folder`, which it therefore does not change, and stores its own files in a temporary directory.
    """
    with tempfile.TemporaryDirectory(prefix="portalis-kit-") as temporary:
        root = Path(temporary)
        shutil.copytree(folder, root / "exts" / folder.name)
        probe, report = root / "probe.py", root / "report.json"
        shutil.copyfile(_PROBE, probe)
        command = kit_arguments(root, root / "exts", folder.name, [str(probe), folder.name, str(report)])
        result = run_kit(python, command)
        document = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
        return KitRun(returncode=result.returncode, log=result.log, report=document)


def kit_arguments(portable: Path, extensions: Path, identifier: str, script: Sequence[str] = ()) -> list[str]:
    """Kit's command-line options: headless, no registries, files under `portable`; it runs `script` and exits."""
    quoted = " ".join(f'"{part}"' for part in script)
    return [
        "--no-window",
        "--portable-root",
        str(portable / "kit"),
        "--ext-folder",
        str(extensions),
        "--enable",
        identifier,
        "--/app/quitAfter=20",
        "--/app/fastShutdown=false",  # so that Kit shuts down its extensions
        "--/exts/omni.kit.registry.nucleus/registries=[]",
        *(["--exec", quoted] if script else []),
    ]


def run_kit(python: Path, options: Sequence[str], environment: Mapping[str, str] = os.environ) -> KitRun:
    """Run Kit with `options` until it exits, or for at most START_TIMEOUT_S seconds."""
    variables = {"OMNI_KIT_ALLOW_ROOT": "1", "PYTHONDONTWRITEBYTECODE": "1", **environment}
    try:
        done = subprocess.run(
            [python, "-m", "omni.kit_app", *options],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=START_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return KitRun(returncode=None, log=(error.stdout or b"").decode(errors="replace"))
    return KitRun(returncode=done.returncode, log=done.stdout.decode(errors="replace"))
