"""The image under the strictest `docker run` command: an unknown user, a read-only root file system, no capabilities and
no new privileges."""

from __future__ import annotations

import json
import platform
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from portalis.engines.container_engine import ContainerEngine
from portalis.engines.image import Image
from tests.running import waiting
from tests.running.ports import free_port

from .images import REFERENCE, REQUEST, check_answer

pytestmark = pytest.mark.slow


def run(docker: ContainerEngine, *words: str) -> str:
    done = subprocess.run(["docker", "--host", docker.address, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(params=["1", "2"], ids=["one process", "two workers"])
def service(docker: ContainerEngine, docker_image: Image, request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """The container's id, and the port where its service is ready."""
    names = ("SERVICE_PORT", "GRPC_PORT", "METRICS_PORT")
    ports = {name: free_port() for name in names}
    ports["NIM_WORKER_PROCESSES"] = request.param
    settings = [word for name, port in ports.items() for word in ("--env", f"{name}={port}")]
    confined = ["--user", "4242", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    # the test's engine has no bridge
    container = run(docker, "run", "--detach", "--network=host", *confined, *settings, REFERENCE)
    port = ports["SERVICE_PORT"]
    try:
        waiting.until(lambda: ready(port), lambda: run(docker, "logs", container), every_s=0.2)
        yield container, port
    finally:
        run(docker, "rm", "--force", "--volumes", container)


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_the_image_responds_as_user_4242_and_ends_cleanly_on_sigterm(
    docker: ContainerEngine, service: tuple[str, int]
) -> None:
    container, port = service
    body = json.dumps(REQUEST).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/models/softmax/infer", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=waiting.PATIENCE_S) as answer:
        check_answer(json.load(answer))
    assert run(docker, "exec", container, "id", "-u") == "4242"
    core = "import glob; print({line.split()[-1] for p in glob.glob('/proc/[0-9]*/maps') for line in open(p) if '_core' in line})"
    library = f"/app/portalis_backend/lib/{platform.machine()}/libwasm_core.so"
    assert library in run(docker, "exec", container, "python3", "-c", core)
    run(docker, "stop", "--time", f"{waiting.PATIENCE_S:.0f}", container)
    assert run(docker, "inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", container) == "0 false"
