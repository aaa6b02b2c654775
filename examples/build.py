"""Builds the example modules from C with Zig: ``python examples/build.py [--out DIRECTORY] [NAME …]``.

The committed modules were built with ziglang 0.17.1; the same version produces identical bytes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
GUEST = HERE.parent / "guest" / "c"
STACK = "-Wl,-z,stack-size=16384"  # a small memory is reset between batches instead of being replaced
FREESTANDING = (
    "-target",
    "wasm32-freestanding",
    "-nostdlib",
    "-Wl,--no-entry",
    "-mcpu=generic+simd128+bulk_memory",
    STACK,
)
COMMON = ("-O3", "-Wall", "-Wextra", "-Werror", "-Wl,--strip-debug", "-I", str(GUEST))
NAMES = ("echo", "gelu", "softmax", "image_preprocess", "wordpiece", "nms", "text_filter")


def build(name: str, target: Path, zig: list[str]) -> None:
    """Compile the example `name` and write the module to `target`."""
    with tempfile.TemporaryDirectory() as scratch:
        flags: tuple[str, ...] = FREESTANDING
        if name == "text_filter":
            flags = ("-target", "wasm32-wasi")
        if name == "wordpiece":
            make = str(HERE / name / "make_tables.py")
            tables = [sys.executable, make, str(HERE / name / "vocab.txt"), scratch]
            subprocess.run(tables, check=True)
            flags += ("-I", scratch)
        module = Path(scratch) / f"{name}.wasm"
        source = HERE / name / f"{name}.c"
        subprocess.run([*zig, "cc", *flags, *COMMON, str(source), "-o", str(module)], check=True)
        shutil.copyfile(module, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="names of the examples (default: all)")
    parser.add_argument("--out", type=Path, help="output directory (default: next to the sources)")
    options = parser.parse_args()
    for name in options.names or NAMES:
        target = (options.out or HERE / name) / f"{name}.wasm"
        build(name, target, [sys.executable, "-m", "ziglang"])
        print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
