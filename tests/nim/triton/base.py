"""Base images of Dockerfile.triton: one built here with NVIDIA's layout, and NVIDIA's own if it is available."""

from __future__ import annotations

import importlib.util
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import parts

DOCKERFILE = parts.ROOT / "Dockerfile.triton"
LOCAL = "portalis-test/tritonserver:2.51-py3"
WHEELHOUSE = parts.PARTS / "triton-wheelhouse"  # of nim/triton/requirements.txt for the base image's Python
PYTHON = "3.11"  # the base image's

# as in NVIDIA's images, without CUDA
LOCAL_DOCKERFILE = f"""\
FROM {parts.BASE_IMAGE}
COPY root /
ENV PATH=/opt/tritonserver/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV LD_LIBRARY_PATH=/opt/tritonserver/lib
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh"]
"""
ENTRYPOINT = '#!/bin/bash\necho "a banner"\nexec "$@"\n'


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base image, its engine (a `docker.APIClient`), and the wheels for it."""

    image: str
    engine: Any
    host: str | None
    wheelhouse: Path | None


def connect(host: str | None) -> Any:
    """A client of the engine at `host`, or of the one that the environment names."""
    import docker
    from docker.utils import kwargs_from_env

    return docker.APIClient(**(kwargs_from_env() if host is None else {"base_url": host}), version="auto", timeout=300)


def ngc_image() -> str:
    """The default base image of Dockerfile.triton."""
    found = re.search(r"^ARG TRITON_IMAGE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def ngc_base() -> Base:
    """NVIDIA's image in the user's own engine. It is optional: without it, its tests are skipped even if parts are required."""
    from docker.errors import DockerException

    image = ngc_image()
    try:
        engine = connect(None)
        engine.inspect_image(image)
    except (DockerException, OSError) as problem:
        pytest.skip(
            f"{parts.MISSING}NVIDIA's image of Triton: `docker pull {image}` into a running engine ({problem.__class__.__name__})"
        )
    return Base(image=image, engine=engine, host=None, wheelhouse=None)


def local_base(folder: Path) -> Base:
    """Triton 2.51 from the nvidia-pytriton wheel, in NVIDIA's layout under /opt/tritonserver."""
    host = parts.docker_engine()
    if not WHEELHOUSE.is_dir():
        parts.skip_or_fail("the wheels for Triton's Python: `make parts` (as root on Debian)")
    pytriton = parts.tritonserver().binary.parent.parent.parent
    if pytriton.name != "pytriton":
        spec = importlib.util.find_spec("pytriton")
        if spec is None or spec.origin is None:
            parts.skip_or_fail("a tritonserver to put into an image: `pip install nvidia-pytriton`")
        pytriton = Path(spec.origin).parent
    server, triton = pytriton / "tritonserver", folder / "root" / "opt" / "tritonserver"
    python = triton / "backends" / "python"
    python.mkdir(parents=True)
    shutil.copytree(server / "bin", triton / "bin")
    shutil.copytree(pytriton.parent / "nvidia_pytriton.libs", triton / "lib")
    for file in [*(server / "backends" / "python").iterdir(), *(server / "python_backend_stubs" / PYTHON).iterdir()]:
        if file.is_file():
            shutil.copy2(file, python)
    entrypoint = folder / "root" / "opt" / "nvidia" / "nvidia_entrypoint.sh"
    entrypoint.parent.mkdir()
    entrypoint.write_text(ENTRYPOINT)
    entrypoint.chmod(0o755)
    (folder / "Dockerfile").write_text(LOCAL_DOCKERFILE)
    engine = connect(host)
    build(engine, LOCAL, folder, dockerfile="Dockerfile")
    return Base(image=LOCAL, engine=engine, host=host, wheelhouse=WHEELHOUSE)


def build(
    engine: Any, tag: str, folder: Path, *, dockerfile: str, network: str = "none", **arguments: str
) -> list[str]:
    """Build `tag` and return the engine's log. If the build fails, the AssertionError contains the log."""
    steps = engine.build(
        path=str(folder),
        dockerfile=dockerfile,
        tag=tag,
        buildargs=arguments,
        network_mode=network,
        rm=True,
        forcerm=True,
        decode=True,
    )
    log = []
    for step in steps:
        log.append(str(step.get("stream") or step.get("error") or "").rstrip())
        assert "error" not in step, "\n".join(log)
    return log
