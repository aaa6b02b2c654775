"""Container scenarios of the requirements (6.3), on real Docker and Podman engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portalis.contracts.output import Status
from portalis.engines.confinement import Confinement
from portalis.engines.container_engine import ContainerEngine
from portalis.examples.catalog import EXAMPLES
from portalis.pipeline import Options, run_pipeline
from portalis.spec.container import ContainerRuntime
from portalis.spec.read import make_spec
from tests import parts
from tests.portalis.pipeline.conftest import Listening
from tests.running import waiting

pytestmark = pytest.mark.engine

ENGINES = {
    ContainerRuntime.Docker: ("DOCKER_HOST", parts.docker_engine),
    ContainerRuntime.Podman: ("CONTAINER_HOST", parts.podman_engine),
}


@pytest.fixture(params=list(ENGINES))
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ContainerRuntime:
    """The runtime of a running engine, whose address is in the environment."""
    runtime: ContainerRuntime = request.param
    variable, find = ENGINES[runtime]
    monkeypatch.setenv(variable, find())
    return runtime


DOCKERFILE = f"""\
FROM {parts.BASE_IMAGE}
HEALTHCHECK --interval=1s --timeout=5s --retries=3 CMD ["test", "-e", "/tmp/started"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python3", "-c", "import pathlib, signal, sys; signal.signal(15, lambda *_: sys.exit(0)); \
pathlib.Path('/tmp/started').touch(); signal.pause()"]
"""


@pytest.mark.slow
def test_integration_scenario_1_docker_integration(runtime: ContainerRuntime, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    with ContainerEngine.find(runtime) as engine:
        image = engine.build(tmp_path, "portalis-test/integration:1.0", network="none")
        # the image is built and has the requested tag
        assert engine.inspect("portalis-test/integration:1.0").image_id == image.image_id
        assert image.config["Healthcheck"]["Test"] == ["CMD", "test", "-e", "/tmp/started"]
        # a container starts, its health check succeeds, and it stops on SIGTERM
        with engine.start("portalis-test/integration:1.0", Confinement(tmpfs=("/tmp",)), network="host") as container:
            waiting.until(lambda: container.state()["Health"]["Status"] == "healthy", container.state, every_s=0.2)
            assert container.stop() == 0
        engine.remove("portalis-test/integration:1.0")


@pytest.mark.slow
def test_acceptance_scenario_2_nim_container_generation(runtime: ContainerRuntime, tmp_path: Path) -> None:
    data: dict[str, Any] = {
        "package_name": "activations",
        "package_version": "1.2.0",
        "output_directory": "out",
        "wasm_binaries": [str(EXAMPLES["softmax"].module)],
        "container_config": {
            "runtime": runtime.value,
            "base_image": parts.BASE_IMAGE,
            "wheelhouse": str(parts.WHEELHOUSE),
            "health_check_interval": "7s",
            "memory_limit": "1Gi",
        },
    }
    output = run_pipeline(make_spec(data, base=tmp_path, source="the spec"), Options(only=["nim"]), Listening())
    assert output.status is Status.Success, output.diagnostics.errors
    (container,) = output.artifacts.nim_containers
    # the Dockerfile is generated
    dockerfile = Path(container.dockerfile_path)
    assert dockerfile == tmp_path / "out" / "containers" / "activations-softmax" / "Dockerfile"
    assert dockerfile.read_text().count(f"FROM {parts.BASE_IMAGE}") == 2
    with ContainerEngine.find(runtime) as engine:
        # the image is built
        image = engine.inspect("activations-softmax:1.2.0")
        # the health check is configured in the image and reported
        check, reported = image.config["Healthcheck"], container.health_check_config
        assert (check["Interval"], check["Timeout"], check["Retries"]) == (7 * 10**9, 5 * 10**9, 3)
        assert (reported.interval_seconds, reported.timeout_seconds, reported.retries) == (7, 5, 3)
        # the service port and the metrics port are exposed
        assert set(image.config["ExposedPorts"]) == {f"{port}/tcp" for port in container.exposed_ports}
        assert {8000, 9090} <= set(container.exposed_ports)
        engine.remove("activations-softmax:1.2.0")
    # the digest is calculated
    assert container.image_id == image.image_id
    assert container.image_digest.startswith("sha256:") and len(container.image_digest) == 71
    assert container.image_size_bytes == image.size_bytes > 50_000_000
    assert [layer.created_by for layer in container.layers] == [layer.created_by for layer in image.layers]
    # the image passed its smoke test
    (result,) = output.diagnostics.validation_results
    assert (result.name, result.check, result.valid) == ("activations-softmax:1.2.0", "smoke run", True)
    assert "healthy after" in result.report and "by its own health check" in result.report
    assert "softmax answered over HTTP and gRPC" in result.report
    assert "ended with exit status 0 on SIGTERM" in result.report
    assert "read-only root, without capabilities ALL, 1024 MiB of memory" in result.report
