"""Run by Dockerfile.triton in its build stage, by the Python that Triton's stubs embed: puts all that the image adds to
Triton's own image under one folder, at the paths that it has in the image. One COPY then brings it over, and neither
pip's traces nor the wheels come along.

It stands in the build context beside a part of portalis, without the rest.
"""

from __future__ import annotations

import compileall
import importlib.metadata
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from portalis.wasm_backend import install_backend

HERE = Path(__file__).parent
TRITON = Path("/opt/tritonserver")
HEALTH = Path("/opt/portalis/health.py")
CACHE = Path("/var/cache/triton")
_PIN = re.compile(r"([a-z0-9-]+)==(\S+)")


def main(root: Path, base: Path = Path("/")) -> None:
    """Fill the folder `root`, which is made. `base` is the root of the base image's files."""
    os.umask(0o022)
    check_stub(base / TRITON.relative_to("/"))
    install_packages(root)
    backend = install_backend(root / TRITON.relative_to("/") / "backends")
    health = root / HEALTH.relative_to("/")
    health.parent.mkdir(parents=True)
    shutil.copyfile(HERE / HEALTH.name, health)
    cache = root / CACHE.relative_to("/")
    cache.mkdir(parents=True)
    # like /tmp: whatever the user id, the runtime makes a folder of its own in it, for that user alone
    cache.chmod(0o1777)
    import_all(root, backend)
    compile_all(root)
    keep_attributes(root, base)


def check_stub(triton: Path) -> None:
    """The Python that runs this has to be the one that the stub embeds, or the stub would not see what is installed."""
    stub = triton / "backends" / "python" / "triton_python_backend_stub"
    if not stub.is_file():
        raise SystemExit(
            f"the base image has no {stub}, the Python backend that the wasm backend runs on."
            " Set TRITON_IMAGE to an image that has it, such as nvcr.io/nvidia/tritonserver:<release>-py3."
        )
    linked = re.search(rb"libpython(3\.\d+)", stub.read_bytes())
    if linked is not None and linked[1].decode() != _python():
        raise SystemExit(
            f"the base image's python3 is Python {_python()}, but {stub} embeds Python {linked[1].decode()}."
            " Set TRITON_IMAGE to an image whose python3 is the one that its Python backend was built for."
        )


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def missing(requirements: str) -> str:
    """Those of the pins that this Python lacks. Any NumPy will do: the base image's is the one that its stub fits.
    Any Wasmtime would not, and one over the other would mix their files."""
    wanted = []
    for block in re.split(r"\n(?=\S)", requirements):
        pin = _PIN.match(block)
        if pin is None:
            continue  # a comment
        try:
            found = importlib.metadata.version(pin[1])
        except importlib.metadata.PackageNotFoundError:
            wanted.append(block.rstrip() + "\n")
            continue
        if pin[1] == "wasmtime" and found != pin[2]:
            raise SystemExit(
                f"the base image has wasmtime {found}, and the wasm backend is pinned to {pin[2]}."
                " Remove it from the base image, or set TRITON_IMAGE to another one."
            )
    return "".join(wanted)


def install_packages(root: Path) -> None:
    """Install the missing ones from the wheels beside this file, without a network, if there are any; else from the
    package index."""
    wanted = missing((HERE / "requirements.txt").read_text())
    if not wanted:
        return
    chosen = HERE / "missing.txt"
    chosen.write_text(wanted)
    command = [sys.executable, "-m", "pip", "install", "--root", str(root), "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--no-cache-dir", "--no-compile", "--disable-pip-version-check"]
    command += ["--root-user-action=ignore", "--no-warn-script-location", "--requirement", str(chosen)]
    if any(HERE.glob("*.whl")):
        command += ["--no-index", "--find-links", str(HERE)]
    if subprocess.run(command, check=False).returncode != 0:
        raise SystemExit(
            "pip could not install the wheels (see above). Without a network, put them into the context's folder"
            f" `wheelhouse`, for Python {_python()} and {sysconfig.get_platform()}."
        )


def import_all(root: Path, backend: Path) -> None:
    """A wheel that does not load here, for want of a newer C library say, fails the build and not the server."""
    search = [str(backend), *map(str, packages(root))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search), "PYTHONDONTWRITEBYTECODE": "1"}
    program = "import numpy, wasmtime, portalis_backend.program"
    if subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode != 0:
        raise SystemExit("the runtime cannot be imported in this image (see above)")


def packages(root: Path) -> Iterator[Path]:
    """The folders under `root` that pip installed into."""
    yield from (found.parent for found in root.rglob("*.dist-info"))


def compile_all(root: Path) -> None:
    """The server's user cannot write byte code, and would compile at each start."""
    compileall.compile_dir(
        root,
        quiet=1,
        stripdir=str(root),
        prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def keep_attributes(root: Path, base: Path) -> None:
    """COPY gives folders that are there already the owner and mode of its source: let them be the same."""
    for folder in root.rglob("*"):
        there = base / folder.relative_to(root)
        if folder.is_dir() and there.is_dir():
            status = there.stat()
            os.chown(folder, status.st_uid, status.st_gid)
            folder.chmod(status.st_mode & 0o7777)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
