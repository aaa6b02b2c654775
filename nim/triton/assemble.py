"""Assembles the files that Dockerfile.triton adds to Triton's image, in a directory tree like that of the image.

The build stage runs this script with the Python that Triton's stubs embed. The Dockerfile then copies the tree with one
instruction, so that neither the wheels nor pip's other files become part of the image. Only a part of portalis is in
the build context.
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
    """Create the directory tree `root`. `base` is the root directory of the base image."""
    os.umask(0o022)
    check_stub(base / TRITON.relative_to("/"))
    install_packages(root)
    backend = install_backend(root / TRITON.relative_to("/") / "backends")
    health = root / HEALTH.relative_to("/")
    health.parent.mkdir(parents=True)
    shutil.copyfile(HERE / HEALTH.name, health)
    cache = root / CACHE.relative_to("/")
    cache.mkdir(parents=True)
    # like /tmp: for every user id, the runtime creates a private directory in it
    cache.chmod(0o1777)
    import_all(root, backend)
    compile_all(root)
    keep_attributes(root, base)


def check_stub(triton: Path) -> None:
    """Check that this Python is the one that the stub embeds: otherwise the stub would not find the packages."""
    stub = triton / "backends" / "python" / "triton_python_backend_stub"
    if not stub.is_file():
        raise SystemExit(
            f"the base image has no {stub}, the Python backend that the wasm backend runs on."
            " Set TRITON_IMAGE to an image that has it, for example nvcr.io/nvidia/tritonserver:<release>-py3."
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
    """The pins of distributions that this Python lacks.

    Any version of NumPy is accepted: the base image's stub fits the one that it has. An installed Wasmtime must have
    the pinned version, because installing a second one over it would mix their files.
    """
    lacking = []
    for block in re.split(r"\n(?=\S)", requirements):
        pin = _PIN.match(block)
        if pin is None:
            continue  # a comment
        try:
            installed = importlib.metadata.version(pin[1])
        except importlib.metadata.PackageNotFoundError:
            lacking.append(block.rstrip() + "\n")
            continue
        if pin[1] == "wasmtime" and installed != pin[2]:
            raise SystemExit(
                f"the base image has wasmtime {installed}, but the wasm backend requires {pin[2]}."
                " Remove it from the base image, or set TRITON_IMAGE to a different image."
            )
    return "".join(lacking)


def install_packages(root: Path) -> None:
    """Install the missing distributions: from the wheels next to this file without a network, else from the index."""
    lacking = missing((HERE / "requirements.txt").read_text())
    if not lacking:
        return
    requirements = HERE / "missing.txt"
    requirements.write_text(lacking)
    command = [sys.executable, "-m", "pip", "install", "--root", str(root), "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--no-cache-dir", "--no-compile", "--disable-pip-version-check"]
    command += ["--root-user-action=ignore", "--no-warn-script-location", "--requirement", str(requirements)]
    if any(HERE.glob("*.whl")):
        command += ["--no-index", "--find-links", str(HERE)]
    if subprocess.run(command, check=False).returncode != 0:
        raise SystemExit(
            "pip could not install the wheels (see above). Without a network, put them into the context's directory"
            f" `wheelhouse`, for Python {_python()} and {sysconfig.get_platform()}."
        )


def import_all(root: Path, backend: Path) -> None:
    """Import the runtime: a wheel that cannot be loaded (its C library is too old, for example) fails the build."""
    search = [str(backend), *map(str, packages(root))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search), "PYTHONDONTWRITEBYTECODE": "1"}
    program = "import numpy, wasmtime, portalis_backend.program"
    if subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode != 0:
        raise SystemExit("the runtime cannot be imported in this image (see above)")


def packages(root: Path) -> Iterator[Path]:
    """The directories under `root` that pip installed into."""
    yield from (path.parent for path in root.rglob("*.dist-info"))


def compile_all(root: Path) -> None:
    """Compile to byte code: the server's user cannot write any, so each start would compile again."""
    compileall.compile_dir(
        root,
        quiet=1,
        stripdir=str(root),
        prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def keep_attributes(root: Path, base: Path) -> None:
    """Give directories the owner and mode that they have in the base image, where COPY would change them."""
    for folder in root.rglob("*"):
        existing = base / folder.relative_to(root)
        if folder.is_dir() and existing.is_dir():
            status = existing.stat()
            os.chown(folder, status.st_uid, status.st_gid)
            folder.chmod(status.st_mode & 0o7777)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
