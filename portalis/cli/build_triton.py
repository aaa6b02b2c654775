"""`portalis build-images --triton`: the image of Triton with the wasm backend, which no spec says anything of."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PortalisError, UsageError
from ..escaping import printable
from .signals import cleaning_up

if TYPE_CHECKING:
    from ..spec.container import ContainerRuntime

TIMEOUT_S = 1800
LOG = "portalis-triton.build.log"
ARCHIVE = "portalis-triton.tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonBuild:
    """What the command line says. `folder` is where a log or an archive goes."""

    runtime: ContainerRuntime
    base: str | None
    wheelhouse: Path | None
    timeout_s: int | None
    export: bool
    tries: bool
    folder: Path


def build(wanted: TritonBuild, *, as_json: bool, quiet: bool) -> None:
    """Build the image and tell of it. Raises PortalisError, which names the log, and UsageError."""
    from ..engines.container_engine import ContainerEngine
    from ..engines.errors import EngineFailed
    from ..examples.catalog import EXAMPLES
    from ..images import TRITON_IMAGE
    from ..nim.triton import triton_context
    from ..nim.triton.triton_build import build_triton

    if wanted.wheelhouse is not None and not wanted.wheelhouse.is_dir():
        raise UsageError(f"--wheelhouse: {wanted.wheelhouse} is no folder", remediation="Name a folder with wheels.")
    context = triton_context(triton_image=wanted.base, wheelhouse=wanted.wheelhouse)

    def say(line: str) -> None:
        if not (quiet or as_json):
            print(f"  {printable(line)}", file=sys.stderr, flush=True)

    archive = wanted.folder / ARCHIVE if wanted.export else None
    with cleaning_up(), ContainerEngine.find(wanted.runtime) as engine:
        say(engine.version())
        try:
            made = build_triton(
                engine,
                context,
                offline=wanted.wheelhouse is not None,
                timeout_s=wanted.timeout_s or TIMEOUT_S,
                module=EXAMPLES["gelu"].module if wanted.tries else None,
                on_line=say,
            )
            if archive is not None:
                archive.parent.mkdir(parents=True, exist_ok=True)
                engine.save(TRITON_IMAGE, archive)
        except EngineFailed as problem:
            raise _with_log(problem.message, problem.log, problem.remediation, wanted.folder) from None
    found = {
        "image": TRITON_IMAGE,
        "id": made.image.image_id,
        "size_bytes": made.image.size_bytes,
        "layers": len(made.image.layers),
        "seconds": round(made.seconds, 1),
        "tried": made.tried,
        "archive": None if archive is None else str(archive),
    }
    if as_json:
        print(json.dumps(found, indent=2))
    elif not quiet:
        for key, value in found.items():
            print(f"{key}: {'no' if value is None else printable(str(value))}")


def _with_log(message: str, log: tuple[str, ...], remediation: str, folder: Path) -> PortalisError:
    if not log:
        return PortalisError(message, remediation=remediation)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / LOG
    file.write_text("".join(f"{line}\n" for line in log), encoding="utf-8", errors="replace")
    return PortalisError(message, remediation=f"{remediation}\nThe whole log is in {file.absolute()}")
