"""The native libraries built by clang with AddressSanitizer and UndefinedBehaviorSanitizer, between stand-ins for wasmtime and
Triton, with what drives them: ``core_test``, ``shell_test`` and the fuzzers, in a folder under ``build/native``."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.native import plans
from tests.parts.lookup import ROOT

HERE = Path(__file__).parent
SOURCES = ROOT / "backend" / "native"
WORKERS = 2
SANITIZERS = "address,undefined"
FLAGS = ("-std=gnu11", "-g", "-O1", "-fno-omit-frame-pointer", "-Wall", "-Wextra", "-Werror")
FLAGS += ("-Wno-missing-field-initializers", f"-I{SOURCES}")
OPTIONS = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1",
}
"""Environment variables that have a fault end the process."""
DRIVERS = ("core_test", "shell_test", "fuzz_plan", "fuzz_adapter")


def built(clang: str, sanitizers: str = SANITIZERS) -> Path:
    """The folder with all of it, which is made where there is none of these sources and this compiler."""
    version = subprocess.run([clang, "--version"], capture_output=True, check=True).stdout
    digest = hashlib.sha256(version + " ".join((*FLAGS, sanitizers)).encode())
    headers = [*SOURCES.glob("*.[ch]"), *HERE.glob("*.[ch]"), HERE / "planner.py", ROOT / "backend/adapter/control.h"]
    for source in sorted(headers):
        digest.update(source.name.encode() + source.read_bytes())
    folder = ROOT / "build" / "native" / digest.hexdigest()[:16]
    if not folder.exists():
        partial = folder.with_suffix(f".{os.getpid()}.part")
        shutil.rmtree(partial, ignore_errors=True)
        for library in ("python", "cuda"):
            (partial / library).mkdir(parents=True)
        _build(partial, clang, sanitizers)
        partial.rename(folder)
    _backend(folder / "wasm", folder)
    _backend(folder / "elsewhere" / "wasm", folder)  # without a Python backend beside it
    return folder


def _build(folder: Path, clang: str, sanitizers: str) -> None:
    flags = [clang, *FLAGS, f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    native, own = sorted(SOURCES.glob("*.c")), [HERE / name for name in ("scarce.c", "fake_triton.c")]
    core = [source for source in native if '#include "box.h"' in source.read_text()]
    shared = [folder / "libfake_wasmtime.so", folder / "python" / "libtriton_python.so", folder / "cuda" / "libcuda.so.1"]
    compiled = [*flags, "-fsanitize=fuzzer-no-link", "-c"]
    commands = [[*compiled, "-include", str(HERE / "scarce.h"), "-o", f"{folder}/{c.stem}.o", str(c)] for c in native]
    commands += [[*compiled, "-o", f"{folder}/{c.stem}.o", str(c)] for c in own]
    commands += [[*compiled, "-o", f"{folder}/{name}.o", str(HERE / f"{name}.c")] for name in DRIVERS]
    for library, source in zip(shared, ("fake_wasmtime.c", "fake_python_backend.c", "fake_cuda.c")):
        name = f"-Wl,-soname,{library.name}"
        commands.append(
            [*flags, "-fPIC", "-shared", "-fvisibility=hidden", name, "-o", str(library), str(HERE / source)]
        )
    _run(commands)
    commands = []
    for name in DRIVERS:
        parts = [name, "scarce", *(c.stem for c in core)]
        if name == "shell_test":
            parts = [name, "scarce", "fake_triton", *(c.stem for c in native)]
        fuzzing = ["-fsanitize=fuzzer"] if name.startswith("fuzz") else []
        objects = [f"{folder}/{part}.o" for part in parts]
        end = [str(shared[0]), "-Wl,-rpath,$ORIGIN", "-ldl", "-lpthread"]
        commands.append([*flags, *fuzzing, "-rdynamic", "-o", str(folder / name), *objects, *end])
    _run(commands)


def _run(commands: Sequence[Sequence[str]]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(_one, commands))


def _one(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stderr}")


def _backend(folder: Path, built: Path) -> None:
    """A backend's folder for ``shell_test``, whose planner is ours."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "planner.py", folder / "plan.py")
    (folder / "wasmtime").write_text(str(built / "libfake_wasmtime.so"))
    plans.write(folder / "plans")


def environment(**more: str) -> dict[str, str]:
    """What the built programs run with."""
    return os.environ | OPTIONS | {"PORTALIS_PYTHON": sys.executable} | more
