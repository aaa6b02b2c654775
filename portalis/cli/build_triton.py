"""`portalis build-images --triton`: builds the image of Triton with the wasm backend. It needs no spec."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..engines.errors import EngineFailed
from ..errors import PortalisError, UsageError
from ..escaping import printable
from .signals import signals_as_exit

if TYPE_CHECKING:
    from ..spec.container import ContainerRuntime

_TIMEOUT_S = 1800
_LOG = "portalis-triton.build.log"
_ARCHIVE = "portalis-triton.tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonBuildOptions:
    """The options of the command line. `base` is the Triton image to start from, None for the default. `folder` is the
    directory for the log of a failed build and for the archive."""

    runtime: ContainerRuntime
    base: str | None
    wheelhouse: Path | None
    timeout_s: int | None
    export: bool
    smoke_test: bool
    folder: Path


def build_from_options(options: TritonBuildOptions, *, as_json: bool, quiet: bool) -> None:
    """Build the image and print the result. Raises PortalisError, which names the log file, and UsageError."""
    from ..engines.container_engine import ContainerEngine
    from ..examples.catalog import EXAMPLES
    from ..images import TRITON_IMAGE
    from ..nim.triton import triton_context
    from ..nim.triton.triton_build import build_triton

    if options.wheelhouse is not None and not options.wheelhouse.is_dir():
        raise UsageError(
            f"--wheelhouse: {options.wheelhouse} is not a directory", remediation="Name a directory with wheels."
        )
    context = triton_context(triton_image=options.base, wheelhouse=options.wheelhouse)

    def on_progress(line: str) -> None:
        if not (quiet or as_json):
            print(f"  {printable(line)}", file=sys.stderr, flush=True)

    archive = options.folder / _ARCHIVE if options.export else None
    with signals_as_exit(), ContainerEngine.find(options.runtime) as engine:
        on_progress(engine.version())
        try:
            result = build_triton(
                engine,
                context,
                offline=options.wheelhouse is not None,
                timeout_s=options.timeout_s or _TIMEOUT_S,
                module=EXAMPLES["gelu"].module if options.smoke_test else None,
                on_line=on_progress,
            )
            if archive is not None:
                archive.parent.mkdir(parents=True, exist_ok=True)
                engine.save(TRITON_IMAGE, archive)
        except EngineFailed as error:
            raise _with_log_file(error, options.folder) from None
    document = {
        "image": TRITON_IMAGE,
        "id": result.image.image_id,
        "size_bytes": result.image.size_bytes,
        "layers": len(result.image.layers),
        "seconds": round(result.seconds, 1),
        "tried": result.smoke_test,
        "archive": None if archive is None else str(archive),
    }
    if as_json:
        print(json.dumps(document, indent=2))
    elif not quiet:
        for key, value in document.items():
            print(f"{key}: {'no' if value is None else printable(str(value))}")


def _with_log_file(error: EngineFailed, folder: Path) -> PortalisError:
    """An error whose remediation names a file with the log of `error`, if it has one."""
    if not error.log:
        return PortalisError(error.message, remediation=error.remediation)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _LOG
    file.write_text("".join(f"{line}\n" for line in error.log), encoding="utf-8", errors="replace")
    return PortalisError(error.message, remediation=f"{error.remediation}\nThe whole log is in {file.absolute()}")
