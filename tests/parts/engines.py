"""Dedicated container engines that build and run images: one Docker and one Podman for each test run.

They have no bridge network (builds and containers use the host's network) and contain the image `BASE_IMAGE`. They end with
the run, and everything that they built is removed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.running import session
from tests.running.waiting import PATIENCE_S

from .lookup import PARTS, Missing, part

BASE_IMAGE = "local/python:bookworm"  # Debian's Python 3.11 with pip
WHEELHOUSE = PARTS / "wheelhouse"  # the wheels of nim/requirements.txt for the Python of BASE_IMAGE
ROOT_FILES = PARTS / "python-image" / "rootfs.tar"

# For machines without systemd and without permission to raise limits, such as containers: Podman manages control groups
# itself, and its default limits on files and processes, with which no container could start, are lowered.
PODMAN_SETTINGS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


@part("engine")
def docker_engine() -> str:
    """A Docker engine, as a value for DOCKER_HOST."""
    dockerd = _find_engine("dockerd", "a Docker engine")
    host: str = session.once("docker", lambda: _start_docker(dockerd))
    return host


@part("engine")
def podman_engine() -> str:
    """A Podman service, as a value for CONTAINER_HOST."""
    podman = _find_engine("podman", "Podman")
    host: str = session.once("podman", lambda: _start_podman(podman))
    return host


def _find_engine(name: str, what: str) -> str:
    path = shutil.which(name)
    if path is None or os.geteuid() != 0 or not ROOT_FILES.is_file():
        raise Missing(f"{what} and a base image: `make parts` (as root on Debian)")
    return path


def _start_docker(dockerd: str) -> str:
    folder = Path(tempfile.mkdtemp(prefix="portalis-docker-"))  # a short path: a socket's has at most 107 bytes
    host = f"unix://{folder}/d.sock"
    options = ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"), "--host", host]
    options += ["--pidfile", str(folder / "pid"), "--iptables=false", "--bridge=none"]
    session.keep("docker", [dockerd, *options], folder / "log")
    _import_base(host, "the Docker engine", folder)
    return host


def _start_podman(podman: str) -> str:
    folder = Path(tempfile.mkdtemp(prefix="portalis-podman-"))
    host = f"unix://{folder}/p.sock"
    (folder / "containers.conf").write_text(PODMAN_SETTINGS)
    options = ["--root", str(folder / "data"), "--runroot", str(folder / "run"), "--tmpdir", str(folder / "tmp")]
    options += ["--network-config-dir", str(folder / "networks")]
    environment = os.environ | {"CONTAINERS_CONF": str(folder / "containers.conf")}
    command = [podman, *options, "system", "service", "--time=0", host]
    session.keep("podman", command, folder / "log", environment)
    _import_base(host, "Podman", folder)
    return host


def _import_base(host: str, what: str, folder: Path) -> None:
    from docker.errors import DockerException

    try:
        client = _connect(host)
        repository, tag = BASE_IMAGE.split(":")
        client.import_image_from_file(str(ROOT_FILES), repository=repository, tag=tag)
        if not client.images(BASE_IMAGE):
            client.tag(f"{repository}:latest", repository, tag)  # Podman ignores the tag
        client.inspect_image(BASE_IMAGE)
        client.close()
    except (DockerException, OSError) as error:
        log = (folder / "log").read_text()[-2000:]
        shutil.rmtree(folder, ignore_errors=True)
        raise Missing(f"{what} does not work ({error}):\n{log}") from None


def _connect(host: str) -> Any:
    import docker
    from docker.errors import DockerException

    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return docker.APIClient(base_url=host, version="auto", timeout=300)
        except DockerException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
