"""`portalis install-backend`: puts the wasm backend into a Triton backend directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import wasm_backend


def install_backend(
    directory: Annotated[
        Path, typer.Argument(help="Triton's backend directory; /opt/tritonserver/backends in NVIDIA's images.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Replace a `wasm` folder even if portalis did not write it.")
    ] = False,
) -> None:
    """Install the `wasm` backend into DIRECTORY.

    The server needs nothing else of portalis: only `wasmtime` and `numpy` in the Python that its stubs embed.

    Example: portalis install-backend /opt/tritonserver/backends
    """
    target = wasm_backend.install_backend(directory, force=force)
    print(f"installed the wasm backend in {target}")
    print(f"  serve with: tritonserver --backend-directory {target.parent} --model-repository REPOSITORY")
    if not (target.parent / "python").is_dir():
        print(f"  note: {target.parent} has no `python` backend, which the wasm backend runs on")
    # stubs that were built for NumPy 1 misread the arrays of NumPy 2, and NVIDIA's images have NumPy 1
    print("  the server's Python needs: pip install 'wasmtime>=50,<51' 'numpy<2'")
