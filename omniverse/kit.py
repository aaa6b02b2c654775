"""A real Kit, where there is one: starts it headless with an extension, and reads what the extension says of itself.

Kit has a Python of its own (the ``omniverse-kit`` wheel wants 3.12), so PORTALIS_KIT_PYTHON names the interpreter of
an environment that has it; without it, portalis looks into its own. Whoever runs Kit accepts NVIDIA's licence with
OMNI_KIT_ACCEPT_EULA: portalis does not do it for them.
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
    f"set {PYTHON} to a Python 3.12 of an environment with omniverse-kit (NVIDIA's licence applies), and with wasmtime"
    " and numpy where the extension is without them"
)
START_TIMEOUT_S = 300.0  # the first start of a Kit compiles its caches
_PROBE = Path(__file__).parent / "templates" / "kit_probe.py.j2"


@dataclass(frozen=True, slots=True, kw_only=True)
class KitRun:
    """How one start of Kit ended. `said` is what the extension answered; empty where it did not."""

    returncode: int | None
    log: str
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kit(self) -> str:
        """Kit's version and build."""
        return str(self.said.get("kit", ""))

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that Kit loaded, and that answered a call."""
        return tuple(self.said.get("modules", ()))

    @property
    def trouble(self) -> str | None:
        """Why this was no success."""
        if self.returncode is None:
            return f"Kit did not end within {START_TIMEOUT_S:g} s"
        if not self.said:
            return f"the extension did not answer; Kit ended with {self.returncode}: {self.errors}"
        failures = self.said.get("failures")
        if failures:
            told = "; ".join(f"{name}: {why}" for name, why in failures.items())
            return f"in Kit {self.kit} this fails: {told}"
        if self.returncode != 0:
            return f"Kit ended with {self.returncode}: {self.errors}"
        return None

    @property
    def errors(self) -> str:
        """The lines of the log that tell of errors, else its last ones."""
        lines = self.log.splitlines()
        return "\n".join([line for line in lines if "[Error]" in line or "Error:" in line][:10] or lines[-10:])


def find_kit() -> Path | None:
    """The Python that has Kit; None where there is none."""
    named = os.environ.get(PYTHON)
    if named:
        path = Path(named)
        return path if os.access(path, os.X_OK) else None
    # `omni` is a folder without __init__.py that other packages may have too
    has_kit = importlib.util.find_spec("omni") is not None and importlib.util.find_spec("omni.kit_app") is not None
    return Path(sys.executable) if has_kit else None


def kit_version(python: Path) -> str:
    """The version of Kit's wheel; empty where it has none."""
    program = "import importlib.metadata as m; print(m.version('omniverse-kit'))"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def try_extension(python: Path, folder: Path) -> KitRun:
    """Start Kit with the extension in `folder` (called by its id), ask it for its modules, and let Kit end.

    Kit sees a copy, so that it leaves nothing in `folder`, and keeps its own files in a temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="portalis-kit-") as temporary:
        place = Path(temporary)
        shutil.copytree(folder, place / "exts" / folder.name)
        probe, answer = place / "probe.py", place / "answer.json"
        shutil.copyfile(_PROBE, probe)
        command = kit_arguments(place, place / "exts", folder.name, [str(probe), folder.name, str(answer)])
        ended = run_kit(python, command)
        said = json.loads(answer.read_text(encoding="utf-8")) if answer.is_file() else {}
        return KitRun(returncode=ended.returncode, log=ended.log, said=said)


def kit_arguments(portable: Path, extensions: Path, identifier: str, script: Sequence[str] = ()) -> list[str]:
    """Kit's options: headless, without registries, its files under `portable`; it runs `script` and ends."""
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
        "--/app/fastShutdown=false",  # else extensions are not told to stop
        "--/exts/omni.kit.registry.nucleus/registries=[]",
        *(["--exec", quoted] if script else []),
    ]


def run_kit(python: Path, options: Sequence[str], environment: Mapping[str, str] = os.environ) -> KitRun:
    """Run Kit with `options` to its end."""
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
    except subprocess.TimeoutExpired as late:
        return KitRun(returncode=None, log=(late.stdout or b"").decode(errors="replace"))
    return KitRun(returncode=done.returncode, log=done.stdout.decode(errors="replace"))
