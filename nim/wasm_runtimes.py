"""The program of another WebAssembly runtime (Wasmer, WasmEdge) as files of an image, with all that it is linked with.

Its libraries and their loader come along, and the loader is called by name: so the program runs on any base image,
whatever C library that has, and nothing of the base's own is put in another's place.
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
_ASK_S = 30
_BINARIES = {WasmRuntime.Wasmer: "wasmer", WasmRuntime.WasmEdge: "wasmedge"}
_REMEDIES = {
    WasmRuntime.Wasmer: "Install Wasmer and put `wasmer` on PATH",
    WasmRuntime.WasmEdge: "Install WasmEdge (on Debian 13: `apt-get install wasmedge`)",
}
_OR_NAME = ", or set container_config.wasm_runtime_path to its program."


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFiles:
    """A runtime for an image: `files` by their paths below `WASM_RUNTIME`, those of them that are `executable`, and the
    `command` that starts it in the image."""

    name: str
    files: Mapping[str, Path]
    executable: tuple[str, ...]
    command: tuple[str, ...]


def runtime_problems(config: ContainerConfiguration) -> Iterator[Problem]:
    """What cannot be said of a runtime in the image's own process."""
    if config.wasm_runtime is WasmRuntime.Wasmtime and config.wasm_runtime_path is not None:
        yield Problem(
            where="container_config.wasm_runtime_path",
            message="Wasmtime is no program of its own in an image",
            remediation="Leave it out, or set wasm_runtime to Wasmer or WasmEdge.",
        )


def find_runtime(config: ContainerConfiguration, environment: Mapping[str, str] = os.environ) -> RuntimeFiles | None:
    """The program that `config` asks for, the one it names or else the one on PATH; None for Wasmtime.

    Raises MissingPart where it is not to be had, or not in the version that `config` asks for.
    """
    runtime = config.wasm_runtime
    if runtime is WasmRuntime.Wasmtime:
        return None
    program = config.wasm_runtime_path
    if program is None:
        found = shutil.which(_BINARIES[runtime], path=environment.get("PATH", ""))
        if found is None:
            raise _missing(runtime, f"there is no {_BINARIES[runtime]} on PATH")
        program = Path(found)
    program = program.resolve()  # its libraries may be named from where it really lies
    try:
        interpreter = interpreter_of(program)
    except NotElf as trouble:
        raise _missing(runtime, f"{program} {trouble}") from None
    except OSError as trouble:
        raise _missing(runtime, f"{program} cannot be read: {trouble.strerror}") from None
    name = _BINARIES[runtime]
    files = {name: program}
    installed, executable = f"{RUNTIME_PATH}/{name}", [name]
    words, here = [installed], [str(program)]
    if interpreter is not None:  # else it is linked with nothing
        loader, libraries = _linked(runtime, program, interpreter)
        files |= {f"lib/{each}": path for each, path in libraries.items()}
        files[f"lib/{loader.name}"] = loader.resolve()
        executable.append(f"lib/{loader.name}")
        words = [f"{RUNTIME_PATH}/lib/{loader.name}", "--library-path", f"{RUNTIME_PATH}/lib", installed]
        here = [str(loader), "--library-path", str(loader.parent), str(program)]
    _check_version(runtime, here, config.wasm_runtime_version)
    return RuntimeFiles(name=runtime.value, files=files, executable=tuple(executable), command=tuple(words))


def _missing(runtime: WasmRuntime, why: str) -> MissingPart:
    return MissingPart(f"{runtime.value} is not to be had: {why}", remediation=_REMEDIES[runtime] + _OR_NAME)


def _linked(runtime: WasmRuntime, program: Path, interpreter: str) -> tuple[Path, dict[str, Path]]:
    """The loader and the libraries of `program` by their names."""
    first = _libraries(runtime, program, [interpreter])
    loader = Path(interpreter)
    libc = first.get("libc.so.6")
    if libc is None:
        return loader, first
    # a C library works with the loader of its own version alone, and that one's folder has the other libraries; on an
    # ordinary system this is the interpreter again
    beside = libc.parent / loader.name
    loader = beside if beside.exists() else loader
    return loader, _libraries(runtime, program, [str(loader), "--library-path", str(libc.parent)])


def _libraries(runtime: WasmRuntime, program: Path, loader: list[str]) -> dict[str, Path]:
    done = _asked(runtime, [*loader, "--list", str(program)])
    if done.returncode or "not found" in done.stdout:
        lost = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "not found" in line]
        raise _missing(runtime, f"{program} cannot be loaded here: {'; '.join(lost) or done.stderr.strip()[-500:]}")
    found = {}
    for line in done.stdout.splitlines():
        match = _LIBRARY.match(line)
        if match is not None and match["path"]:
            found[match["name"].rpartition("/")[2]] = Path(match["path"]).resolve()
    return found


def _check_version(runtime: WasmRuntime, command: list[str], wanted: str | None) -> None:
    done = _asked(runtime, [*command, "--version"])
    told = re.search(r"\d+\.\d+\.\d+\S*", done.stdout)
    if done.returncode or told is None or runtime.value.lower() not in done.stdout.lower():
        answer = (done.stdout + done.stderr).strip()[-500:]
        raise _missing(runtime, f"{command[-1]} does not tell a version of {runtime.value}: {answer}")
    if wanted is not None and told[0] != wanted:
        raise _missing(runtime, f"{command[-1]} is version {told[0]}, but wasm_runtime_version is {wanted!r}")


def _asked(runtime: WasmRuntime, command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_ASK_S, check=False)
    except subprocess.TimeoutExpired:
        raise _missing(runtime, f"{command[-1]} does not answer") from None
    except OSError as trouble:
        raise _missing(runtime, f"{command[0]} cannot be run: {trouble.strerror}") from None
