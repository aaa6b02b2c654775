"""``python -m portalis.nim.triton FOLDER`` writes the Triton image's build context, for users without a checkout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ...errors import PortalisError, UsageError
from ...images import TRITON_IMAGE
from .triton_context import triton_context


def main(arguments: list[str]) -> str:
    """Write the context. Returns the command that builds the image. Raises UsageError."""
    parser = argparse.ArgumentParser(
        prog="python -m portalis.nim.triton",
        description="Writes the build context of the Triton image with the wasm backend.",
    )
    parser.add_argument("folder", type=Path, help="the directory to write to: new or empty")
    parser.add_argument("--wheelhouse", type=Path, help="a directory with wheels, for a build without a network")
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    context = triton_context(wheelhouse=options.wheelhouse)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty", remediation="Name a directory that is new or empty.")
        context.write_to(folder)
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {error.strerror}", remediation="Name a directory with write permission."
        ) from None
    return f"docker build -t {TRITON_IMAGE} {folder}"


if __name__ == "__main__":
    try:
        sys.stdout.write(f"build it with: {main(sys.argv[1:])}\n")
    except PortalisError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
