"""Collects the executable of Wasmer or WasmEdge, and all libraries that it is linked with, as files of an image.

The executable is started by its own loader, with its own libraries. So it runs on every base image, regardless of the
C library there, and replaces no file of the base image.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import MissingPart
from ..output.package_layout import WASM_RUNTIME
from ..problems import Problem
from ..spec.container import ContainerConfiguration, WasmRuntime
from .elf import NotElf, interpreter_of

RUNTIME_PATH = f"/opt/{WASM_RUNTIME}"
"""The directory of the runtime in the image."""
_LIBRARY = re.compile(r"^\s*(?P<name>\S+)(?: => (?P<path>/.*?))? \(0x[0-9a-f]+\)$")
_RUN_S = 30
_BINARIES = {WasmRuntime.Wasmer: "wasmer", WasmRuntime.WasmEdge: "wasmedge"}
_REMEDIATIONS = {
    WasmRuntime.Wasmer: "Install Wasmer and put `wasmer` on PATH",
    WasmRuntime.WasmEdge: "Install WasmEdge (on Debian 13: `apt-get install wasmedge`)",
}
_OR_SET_PATH = ", or set container_config.wasm_runtime_path to its executable."


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFiles:
    """A runtime for an image."""

    name: str
    files: Mapping[str, Path]
    """The files, by their paths relative to `RUNTIME_PATH`."""
    executable: tuple[str, ...]
    """The paths of the executable ones."""
    command: tuple[str, ...]
    """The command that starts the runtime in the image."""


def runtime_problems(config: ContainerConfiguration) -> Iterator[Problem]:
    """A path for Wasmtime, which runs in the process of the service."""
    if config.wasm_runtime is WasmRuntime.Wasmtime and config.wasm_runtime_path is not None:
        yield Problem(
            where="container_config.wasm_runtime_path",
            message="Wasmtime is a library in an image, not an executable",
            remediation="Omit wasm_runtime_path, or set wasm_runtime to Wasmer or WasmEdge.",
        )


def find_runtime(config: ContainerConfiguration, environment: Mapping[str, str] = os.environ) -> RuntimeFiles | None:
    """The executable that `config` names, else the one on PATH; None for Wasmtime.

    Raises MissingPart if it is missing, cannot be loaded, or has a different version than `config` requests.
    """
    runtime = config.wasm_runtime
    if runtime is WasmRuntime.Wasmtime:
        return None
    binary = _find_binary(runtime, config.wasm_runtime_path, environment)
    interpreter = _interpreter(runtime, binary)
    name = _BINARIES[runtime]
    files = {name: binary}
    installed, executable = f"{RUNTIME_PATH}/{name}", [name]
    command, local_command = [installed], [str(binary)]
    if interpreter is not None:
        loader, libraries = _linked(runtime, binary, interpreter)
        files |= {f"lib/{each}": path for each, path in libraries.items()}
        files[f"lib/{loader.name}"] = loader.resolve()
        executable.append(f"lib/{loader.name}")
        command = [f"{RUNTIME_PATH}/lib/{loader.name}", "--library-path", f"{RUNTIME_PATH}/lib", installed]
        local_command = [str(loader), "--library-path", str(loader.parent), str(binary)]
    _check_version(runtime, local_command, config.wasm_runtime_version)
    return RuntimeFiles(name=runtime.value, files=files, executable=tuple(executable), command=tuple(command))


def _find_binary(runtime: WasmRuntime, configured: Path | None, environment: Mapping[str, str]) -> Path:
    if configured is not None:
        return configured.resolve()  # its libraries may be named relative to its real path
    found = shutil.which(_BINARIES[runtime], path=environment.get("PATH", ""))
    if found is None:
        raise _missing(runtime, f"{_BINARIES[runtime]} was not found on PATH")
    return Path(found).resolve()


def _interpreter(runtime: WasmRuntime, binary: Path) -> str | None:
    try:
        return interpreter_of(binary)
    except NotElf as error:
        raise _missing(runtime, f"{binary} {error}") from None
    except OSError as error:
        raise _missing(runtime, f"{binary} cannot be read: {error.strerror}") from None


def _missing(runtime: WasmRuntime, reason: str) -> MissingPart:
    return MissingPart(f"{runtime.value} is not available: {reason}", remediation=_REMEDIATIONS[runtime] + _OR_SET_PATH)


def _linked(runtime: WasmRuntime, binary: Path, interpreter: str) -> tuple[Path, dict[str, Path]]:
    """The loader of `binary`, and its libraries by name."""
    first = _libraries(runtime, binary, [interpreter])
    loader = Path(interpreter)
    libc = first.get("libc.so.6")
    if libc is None:
        return loader, first
    # a C library works only with the loader of its own version, which is in the same directory, as are the other
    # libraries; on ordinary systems that loader is the interpreter itself
    own_loader = libc.parent / loader.name
    loader = own_loader if own_loader.exists() else loader
    return loader, _libraries(runtime, binary, [str(loader), "--library-path", str(libc.parent)])


def _libraries(runtime: WasmRuntime, binary: Path, loader: list[str]) -> dict[str, Path]:
    done = _run(runtime, [*loader, "--list", str(binary)])
    if done.returncode or "not found" in done.stdout:
        missing = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "not found" in line]
        raise _missing(runtime, f"{binary} cannot be loaded: {'; '.join(missing) or done.stderr.strip()[-500:]}")
    libraries = {}
    for line in done.stdout.splitlines():
        match = _LIBRARY.match(line)
        if match is not None and match["path"]:
            libraries[match["name"].rpartition("/")[2]] = Path(match["path"]).resolve()
    return libraries


def _check_version(runtime: WasmRuntime, command: list[str], requested: str | None) -> None:
    done = _run(runtime, [*command, "--version"])
    version = re.search(r"\d+\.\d+\.\d+\S*", done.stdout)
    if done.returncode or version is None or runtime.value.lower() not in done.stdout.lower():
        output = (done.stdout + done.stderr).strip()[-500:]
        raise _missing(runtime, f"{command[-1]} does not print a version of {runtime.value}: {output}")
    if requested is not None and version[0] != requested:
        raise _missing(runtime, f"{command[-1]} is version {version[0]}, but wasm_runtime_version is {requested!r}")


def _run(runtime: WasmRuntime, command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_RUN_S, check=False)
    except subprocess.TimeoutExpired:
        raise _missing(runtime, f"{command[-1]} did not end within {_RUN_S} s") from None
    except OSError as error:
        raise _missing(runtime, f"{command[0]} cannot be run: {error.strerror}") from None
