"""Images on real engines, Docker and Podman: build, inspection, smoke test, export, and the errors of each."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tarfile
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest

from portalis.engines.build_context import write_context_tar
from portalis.engines.confinement import ANY_USER
from portalis.engines.container_engine import ContainerEngine
from portalis.engines.errors import BuildTimedOut, EngineFailed, EngineUnavailable
from portalis.engines.image import Image
from portalis.nim.smoke import smoke_test
from portalis.spec.container import ContainerRuntime
from tests import parts
from tests.running.waiting import until

from .images import AWKWARD, CONFIG, REFERENCE, REQUEST, check_answer, context

pytestmark = pytest.mark.engine


class Built(NamedTuple):
    """An engine and the shared image on it."""

    engine: ContainerEngine
    image: Image


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> ContainerEngine:
    found: ContainerEngine = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["docker", "podman"])
def built(request: pytest.FixtureRequest) -> Built:
    return Built(request.getfixturevalue(request.param), request.getfixturevalue(f"{request.param}_image"))


@pytest.mark.slow
def test_the_image_has_the_configuration_of_its_context(built: Built) -> None:
    image = built.image
    assert image.image_id.startswith("sha256:")
    assert image.config["Labels"]["awkward"] == AWKWARD
    assert f"AWKWARD={AWKWARD}" in image.config["Env"]
    assert image.config["User"] == "1001:0"
    assert set(image.config["ExposedPorts"]) == {"8000/tcp", "8001/tcp", "9090/tcp"}
    # Podman builds in Docker's format too, which has health checks
    assert image.config["Healthcheck"]["Interval"] == 30_000_000_000
    assert image.config["Healthcheck"]["Retries"] == 3
    assert image.config["Healthcheck"]["Test"][0] == "CMD"
    base, module = image.layers[0], image.layers[-1]
    assert base.size_bytes > 50_000_000
    assert abs(sum(layer.size_bytes for layer in image.layers) - image.size_bytes) < 100_000
    assert module.size_bytes < 100_000


@pytest.mark.slow
def test_the_last_layer_of_dockers_image_is_the_module(docker: ContainerEngine, docker_image: Image) -> None:
    assert "/app/models" in docker_image.layers[-1].created_by
    assert docker_image.digest is None  # the image was not pushed


@pytest.mark.slow
def test_a_confined_container_becomes_healthy_infers_as_numpy_does_and_stops(built: Built) -> None:
    assert CONFIG.read_only_root_filesystem and CONFIG.drop_capabilities == ("ALL",)
    report = smoke_test(built.engine, REFERENCE, config=CONFIG, requests={"softmax": REQUEST})
    check_answer(report.responses["softmax"])
    assert report.checked_by_engine and report.exit_status == 0
    assert report.healthy_after_s > 0
    confinement = report.confinement
    assert (confinement.user, confinement.read_only_root) == (ANY_USER, True)
    capabilities = built.engine.capabilities()
    assert (confinement.memory_bytes == 512 * 2**20) is capabilities.memory_limit
    assert (confinement.cpu_millis == 1500) is (capabilities.cpu_limit and capabilities.cpus > 1)
    assert "read-only root" in report.describe() and "exit status 0 on SIGTERM" in report.describe()


@pytest.mark.slow
def test_an_error_in_a_container_includes_its_log(built: Built) -> None:
    with pytest.raises(EngineFailed, match=r"/v1/models/other/infer with status 404") as caught:
        smoke_test(built.engine, REFERENCE, config=CONFIG, requests={"other": {"inputs": []}})
    assert any("softmax" in line and "ready" in line for line in caught.value.log)


@pytest.mark.slow
def test_an_exported_image_is_an_archive_that_docker_loads(
    docker: ContainerEngine, docker_image: Image, tmp_path: Path
) -> None:
    file = tmp_path / "image.tar"
    assert docker.save(REFERENCE, file) == file.stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["image.tar"]
    with tarfile.open(file) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        (entry,) = json.load(manifest)
    assert entry["RepoTags"] == [REFERENCE]
    assert entry["Config"].removesuffix(".json") == docker_image.image_id.removeprefix("sha256:")


@pytest.mark.slow
def test_an_archive_of_podmans_image_is_loaded_by_docker(
    docker: ContainerEngine, podman: ContainerEngine, tmp_path: Path
) -> None:
    """The image is small; an image exported by Docker contains its base image, and never is."""
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY ["Dockerfile", "/"]\nHEALTHCHECK CMD ["/x"]\n')
    made = podman.build(tmp_path, "portalis-test/small:1", network="none")
    podman.save("portalis-test/small:1", tmp_path / "image.tar")
    docker.load(tmp_path / "image.tar")
    # Podman completes names as Docker does
    assert docker.inspect("portalis-test/small:1").image_id == made.image_id
    assert docker.inspect("portalis-test/small:1").config["Healthcheck"]["Test"] == ["CMD", "/x"]
    for engine in (docker, podman):
        engine.remove("portalis-test/small:1")


def test_an_export_that_fails_leaves_no_file(docker: ContainerEngine, tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="cannot inspect the image portalis-test/nothing:1"):
        docker.save("portalis-test/nothing:1", tmp_path / "image.tar")
    with pytest.raises(EngineFailed, match=f"cannot export {parts.BASE_IMAGE}: No such file or directory"):
        docker.save(parts.BASE_IMAGE, tmp_path / "no-such-folder" / "image.tar")
    assert not list(tmp_path.iterdir())


def test_the_error_for_a_container_that_ends_early_has_its_status_and_log(
    engine: ContainerEngine, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(
        f'FROM {parts.BASE_IMAGE}\nENTRYPOINT ["sh", "-c", "echo no such thing; exit 5"]\n'
    )
    engine.build(tmp_path, "portalis-test/ends:1", network="none")
    with pytest.raises(EngineFailed, match="ended with exit status 5") as caught:
        smoke_test(engine, "portalis-test/ends:1", config=CONFIG, requests={})
    assert caught.value.log == ("no such thing",)
    engine.remove("portalis-test/ends:1")


def test_a_failed_build_keeps_its_log_and_the_engines_reason(engine: ContainerEngine, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f'FROM {parts.BASE_IMAGE}\nRUN ["sh", "-c", "echo before; exit 3"]\n')
    lines: list[str] = []
    with pytest.raises(EngineFailed, match="building portalis-test/broken:1 failed: .*3") as caught:
        engine.build(tmp_path, "portalis-test/broken:1", network="none", on_line=lines.append)
    assert "before" in caught.value.log
    assert tuple(lines) == caught.value.log  # each line was forwarded as it arrived
    assert "before" in str(caught.value)


def test_a_build_that_exceeds_its_timeout_is_aborted_and_keeps_its_log(engine: ContainerEngine, tmp_path: Path) -> None:
    length = f"3601.{uuid.uuid4().int}"  # no other process of this machine has this argument
    (tmp_path / "Dockerfile").write_text(f'FROM {parts.BASE_IMAGE}\nRUN ["sleep", "{length}"]\n')
    began = time.monotonic()
    try:
        for limit_s in (6, 60, 600):
            with pytest.raises(BuildTimedOut, match=f"took longer than {limit_s} s") as caught:
                engine.build(tmp_path, "portalis-test/slow:1", network="none", timeout_s=limit_s)
            # Podman logs a step when it is done
            begun = any("sleep" in line for line in caught.value.log) or engine.is_podman
            if begun:  # a busy engine may not have reached the step
                break
        assert begun, caught.value.log
        assert time.monotonic() - began < 1800  # and not the hour that the build would take
        if not engine.is_podman:
            until(lambda: not processes_with(length), "the engine still runs the build")
        assert engine.has_bridge() in (True, False)  # the connection can still be used
    finally:
        # Podman 4.3 leaves a step of a build running when the client disconnects, and even when Podman itself ends
        for process in processes_with(length):
            os.kill(process, signal.SIGKILL)


def processes_with(argument: str) -> list[int]:
    """The ids of the processes that have this argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # the process has ended
            if argument.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def test_a_missing_image_is_an_error(engine: ContainerEngine) -> None:
    with pytest.raises(EngineFailed, match="cannot inspect the image portalis-test/nothing:1"):
        engine.inspect("portalis-test/nothing:1")
    engine.remove("portalis-test/nothing:1")


@pytest.mark.parametrize(
    ("runtime", "variable"), [(ContainerRuntime.Docker, "DOCKER_HOST"), (ContainerRuntime.Podman, "CONTAINER_HOST")]
)
def test_the_error_for_an_unreachable_engine_names_the_remediation(
    tmp_path: Path, runtime: ContainerRuntime, variable: str
) -> None:
    with pytest.raises(EngineUnavailable, match=f"cannot connect to a {runtime} engine .*nothing.sock") as caught:
        ContainerEngine.find(runtime, {variable: f"unix://{tmp_path}/nothing.sock"})
    assert variable in caught.value.remediation
    with pytest.raises(EngineUnavailable, match=str(tmp_path)) as caught:
        ContainerEngine.find(ContainerRuntime.Podman, {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert "systemctl --user start podman.socket" in caught.value.remediation


def test_podman_is_found_at_its_default_socket(podman: ContainerEngine, tmp_path: Path) -> None:
    socket = tmp_path / "podman" / "podman.sock"
    socket.parent.mkdir()
    socket.symlink_to(podman.address.removeprefix("unix://"))
    with ContainerEngine.find(ContainerRuntime.Podman, {"XDG_RUNTIME_DIR": str(tmp_path)}) as found:
        assert found.is_podman
        assert found.address == f"unix://{socket}"


def test_equal_contexts_have_equal_archives(softmax_context: Path, tmp_path: Path) -> None:
    context().write_to(tmp_path / "again")
    (tmp_path / "again" / "Dockerfile").chmod(0o600)
    archives = []
    for number, each in enumerate((softmax_context, tmp_path / "again")):
        with (tmp_path / f"{number}.tar").open("wb") as archive:
            write_context_tar(each, archive, {})
        archives.append((tmp_path / f"{number}.tar").read_bytes())
    assert archives[0] == archives[1]
