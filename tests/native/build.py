"""The native libraries built by clang with AddressSanitizer and UndefinedBehaviorSanitizer, between stand-ins for wasmtime and
Triton, with what drives them: ``core_test``, ``triton_layer_test`` and the fuzzers, in a folder under ``build/native``."""

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
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers")
FLAGS = ("-std=gnu11", "-g", "-O1", "-fno-omit-frame-pointer", *WARNINGS, f"-I{SOURCES}")
OPTIONS = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1",
}
"""Environment variables that have a fault end the process."""
FAIL, FUZZED = ("-fno-sanitize-recover=all",), ("-fsanitize=fuzzer-no-link",)
FUZZER: tuple[Sequence[str], Sequence[str]] = ((), ("-fsanitize=fuzzer",))
PROGRAMS = ("core_test", "triton_layer_test", "fuzz_plan", "fuzz_adapter")
OWN = ("scarce", "fake_triton")


def built(clang: str) -> Path:
    """The build directory, which is created if it does not exist for these sources and this compiler."""
    version = subprocess.run([clang, "--version"], capture_output=True, check=True).stdout
    digest = hashlib.sha256(version)
    sources = [*SOURCES.glob("*.[ch]"), *HERE.glob("*.[ch]"), HERE / "build.py", ROOT / "backend/adapter/control.h"]
    for source in sorted(sources):
        digest.update(source.name.encode() + source.read_bytes())
    folder = ROOT / "build" / "native" / digest.hexdigest()[:16]
    if not folder.exists():
        partial = folder.with_suffix(f".{os.getpid()}.part")
        shutil.rmtree(partial, ignore_errors=True)
        _build(partial, clang)
        partial.rename(folder)
    _backend(folder / "wasm", folder)
    _backend(folder / "elsewhere" / "wasm", folder)  # without a Python backend beside it
    return folder


def _build(folder: Path, clang: str) -> None:
    """Everything, and ``plain/core_test`` without AddressSanitizer, whose allocator a fork may find locked."""
    plain = folder / "plain"
    shared = {"libfake_wasmtime.so": "fake_wasmtime", "python/libtriton_python.so": "fake_python_backend"}
    shared["cuda/libcuda.so.1"] = "fake_cuda"
    for library in (*shared, "plain/core_test"):
        (folder / library).parent.mkdir(parents=True, exist_ok=True)
    checked, forking = ([clang, *FLAGS, *FAIL, f"-fsanitize={kinds}"] for kinds in (SANITIZERS, "undefined"))
    native = sorted(SOURCES.glob("*.c"))
    core = [source.stem for source in native if '#include "instance.h"' in source.read_text()]
    commands = [[*checked, *FUZZED, *_object(folder, source)] for source in native]
    commands += [[*checked, *FUZZED, *_object(folder, HERE / f"{name}.c")] for name in (*OWN, *PROGRAMS)]
    commands += [[*forking, *_object(plain, source)] for source in native if source.stem in core]
    commands += [[*forking, *_object(plain, HERE / f"{name}.c")] for name in ("scarce", "core_test")]
    commands += [_library(checked, folder / library, source) for library, source in shared.items()]
    commands.append(_library(forking, plain / "libfake_wasmtime.so", "fake_wasmtime"))
    _run(commands)
    own = dict.fromkeys(PROGRAMS, core) | {"triton_layer_test": [*(source.stem for source in native), "fake_triton"]}
    commands = [_program([*checked, *FUZZER[name.startswith("fuzz")]], folder, name, own[name]) for name in PROGRAMS]
    _run([*commands, _program(forking, plain, "core_test", core)])


def _object(folder: Path, source: Path) -> list[str]:
    scarce = ["-include", str(HERE / "scarce.h")] if source.parent == SOURCES else []
    return [*scarce, "-c", "-o", f"{folder}/{source.stem}.o", str(source)]


def _library(compiler: Sequence[str], path: Path, source: str) -> list[str]:
    options = ["-fPIC", "-shared", "-fvisibility=hidden", f"-Wl,-soname,{path.name}"]
    return [*compiler, *options, "-o", str(path), str(HERE / f"{source}.c")]


def _program(compiler: Sequence[str], folder: Path, name: str, parts: Sequence[str]) -> list[str]:
    objects = [f"{folder}/{part}.o" for part in (name, "scarce", *parts)]
    end = [f"{folder}/libfake_wasmtime.so", "-Wl,-rpath,$ORIGIN", "-ldl", "-lpthread"]
    return [*compiler, "-rdynamic", "-o", f"{folder}/{name}", *objects, *end]


def _run(commands: Sequence[Sequence[str]]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(_one, commands))


def _one(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stderr}")


def _backend(folder: Path, built: Path) -> None:
    """A backend's folder for ``triton_layer_test``, whose planner is ours."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "planner.py", folder / "plan.py")
    (folder / "wasmtime").write_text(str(built / "libfake_wasmtime.so"))
    plans.write(folder / "plans")


def environment(**more: str) -> dict[str, str]:
    """The environment of the built programs."""
    return os.environ | OPTIONS | {"PORTALIS_PYTHON": sys.executable} | more
