"""External tools against which tests compare results, or which process them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from . import lookup
from .lookup import Missing, part, skip_or_fail
from .lookup import program as find_program


@part()
def extism() -> ModuleType:
    """The Extism SDK, against which the benchmarks compare."""
    if importlib.util.find_spec("extism") is None:
        raise Missing("Extism: `pip install extism`")
    return importlib.import_module("extism")


@part("alone")
def perf_analyzer() -> list[str]:
    """The argv prefix of Triton's perf_analyzer, with the loader of a newer glibc if this system's is too old."""
    on_path = shutil.which("perf_analyzer")
    candidates = [[str(lookup.PARTS / "perf_analyzer" / "run")], [on_path] if on_path else []]
    for argv in candidates:
        if argv and os.access(argv[0], os.X_OK):
            done = subprocess.run([*argv, "--version"], capture_output=True, text=True, check=False)
            if done.returncode == 0 and "erf" in done.stdout + done.stderr:
                return argv
    raise Missing("perf_analyzer: `make parts` (as root on Debian), or put perf_analyzer on PATH")


@part()
def kserve() -> Path:
    """The Python interpreter of an environment with KServe's client."""
    python = lookup.PARTS / "kserve" / "bin" / "python"
    if not python.is_file():
        raise Missing("KServe's client: `make parts` (as root on Debian)")
    return python


@part()
def wasmedge() -> Path:
    """The path of WasmEdge, on PATH or in the root of a newer Debian."""
    on_path = shutil.which("wasmedge")
    for candidate in (Path(on_path) if on_path else None, lookup.PARTS / "perf_analyzer/root/usr/bin/wasmedge"):
        if candidate is not None and os.access(candidate, os.X_OK):
            return candidate
    raise Missing("WasmEdge: `make parts` (as root on Debian), or `apt-get install wasmedge` on Debian 13")


@part()
def cosign() -> list[str]:
    """The argv prefix of cosign: on PATH, or in the root of a newer Debian, with that Debian's loader and libraries."""
    root = lookup.PARTS / "perf_analyzer" / "root"
    loader = [str(root / "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", str(root / "usr/lib/x86_64-linux-gnu")]
    on_path = shutil.which("cosign")
    for argv in ([on_path] if on_path else [], [*loader, str(root / "usr/bin/cosign")]):
        if argv and os.access(argv[-1], os.X_OK):
            done = subprocess.run([*argv, "version"], capture_output=True, text=True, check=False)
            if done.returncode == 0 and "GitVersion" in done.stdout:
                return argv
    raise Missing("cosign: `make parts` (as root on Debian), or `apt-get install cosign` on Debian 13")


@part()
def openssl() -> str:
    """The name of OpenSSL 3's executable, which verifies signatures; jq must be installed as well."""
    for program in ("openssl", "jq"):
        if shutil.which(program) is None:
            raise Missing(f"{program}: `make parts` (as root on Debian), or `apt-get install {program}`")
    return "openssl"


@part("registry")
def docker_registry() -> str:
    """The path of a registry's executable; `tests.registry_server` starts it."""
    return find_program("docker-registry")


@part()
def skopeo() -> str:
    """The path of skopeo, an independent client of registries."""
    return find_program("skopeo")


@part()
def oras() -> str:
    """The path of ORAS's client: on PATH, or from the package of a newer Debian."""
    for candidate in (shutil.which("oras"), str(lookup.PARTS / "oras" / "usr" / "bin" / "oras")):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise Missing("oras: `make parts` (as root on Debian), or put oras on PATH")


@part()
def shellcheck() -> str:
    """The path of shellcheck."""
    return find_program("shellcheck")


def python(version: str) -> Path:
    """The path of a Python interpreter of `version`, for example ``3.12``: on PATH, or pyenv's."""
    on_path = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    # PATH can contain pyenv's shims of versions that are not active: run each candidate
    probe = f"import sys; raise SystemExit(sys.version_info[:2] != {tuple(map(int, version.split('.')))})"
    for path in [*([on_path] if on_path else []), *sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))]:
        if subprocess.run([path, "-c", probe], capture_output=True, check=False).returncode == 0:
            break
    else:
        skip_or_fail(f"Python {version} on PATH or from pyenv")
    return Path(path)


def triton_client_examples() -> Path:
    """The directory of Triton's own client examples. They are always optional, as they are on GitHub alone:
    PORTALIS_REQUIRE_PARTS does not apply."""
    folder = lookup.PARTS / "triton-client-examples"
    if not (folder / "simple_http_infer_client.py").is_file():
        pytest.skip(f"{lookup.MISSING}Triton's client examples: `make parts` with access to github.com")
    return folder


def gpu() -> str:
    """The description of an NVIDIA GPU, from its driver. It is always optional: PORTALIS_REQUIRE_PARTS does not apply."""
    smi = shutil.which("nvidia-smi")
    done = subprocess.run([smi, "-L"], capture_output=True, text=True, check=False) if smi else None
    if done is None or done.returncode != 0 or not done.stdout.strip():
        pytest.skip(f"{lookup.MISSING}an NVIDIA GPU with its driver")
    return done.stdout.splitlines()[0]
