"""`portalis install-backend`: installs the wasm backend into a Triton backend directory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import wasm_backend


def install_backend(
    directory: Annotated[
        Path, typer.Argument(help="Triton's backend directory; /opt/tritonserver/backends in NVIDIA's images.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Replace a `wasm` directory even if portalis did not write it.")
    ] = False,
    machine: Annotated[
        str | None,
        typer.Option(
            help="The server's architecture: x86_64, aarch64, or none (Triton's Python backend only);"
            " default: this machine's."
        ),
    ] = None,
) -> None:
    """Install the `wasm` backend into DIRECTORY.

    The server does not need portalis: only `wasmtime` and `numpy` in the Python version that its stubs embed.

    Example: portalis install-backend /opt/tritonserver/backends
    """
    from ..backend.constants import WASMTIME_REQUIREMENT  # other commands start faster without the package

    target = wasm_backend.install_backend(directory, force=force, machine=machine)
    print(f"installed the wasm backend in {target}")
    print(f"  serve with: tritonserver --backend-directory {target.parent} --model-repository REPOSITORY")
    if (target / wasm_backend.LIBRARY).is_file():
        python = sys.executable or "python3"
        print(f"  models are planned by {python}, if the server has it; PORTALIS_PYTHON selects another")
    else:
        print("  without the native executor: models run in Triton's Python backend")
    if not (target.parent / "python").is_dir():
        print(f"  note: {target.parent} has no `python` backend, which runs models that cannot run natively")
    # stubs that were built for NumPy 1 misread the arrays of NumPy 2, and NVIDIA's images have NumPy 1
    print(f"  the server's Python needs: pip install '{WASMTIME_REQUIREMENT}' 'numpy<2'")
