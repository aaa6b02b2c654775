"""``python -m portalis.nim.triton FOLDER`` writes the build context, for who has no checkout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ...errors import PortalisError, UsageError
from ...images import TRITON_IMAGE
from .triton_context import triton_context


def main(arguments: list[str]) -> str:
    """Write the context and return what to do with it. Raises UsageError."""
    parser = argparse.ArgumentParser(
        prog="python -m portalis.nim.triton",
        description="Writes what the image of Triton with the wasm backend is built from.",
    )
    parser.add_argument("folder", type=Path, help="where to write it: a new or an empty folder")
    parser.add_argument("--wheelhouse", type=Path, help="a folder with wheels, for a build without a network")
    given = parser.parse_args(arguments)
    folder: Path = given.folder
    context = triton_context(wheelhouse=given.wheelhouse)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty", remediation="Name a folder that is new or empty.")
        context.write_to(folder)
    except OSError as problem:
        raise UsageError(
            f"cannot write into {folder}: {problem.strerror}", remediation="Name a folder that you may write to."
        ) from None
    return f"docker build -t {TRITON_IMAGE} {folder}"


if __name__ == "__main__":
    try:
        sys.stdout.write(f"build it with: {main(sys.argv[1:])}\n")
    except PortalisError as problem:
        sys.stderr.write(f"{problem}\n")
        sys.exit(problem.exit_code)
