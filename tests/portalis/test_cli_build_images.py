"""`portalis build-images`: what it makes on a real engine, what it says, and what is left of a failure."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from portalis.contracts.output import PackagingAgentOutput
from portalis.engines.container_engine import ContainerEngine
from portalis.examples.catalog import EXAMPLES
from tests import parts

from .conftest import Cli

SPEC: dict[str, Any] = {
    "package_name": "demo",
    "package_version": "1.0.0",
    "output_directory": "out",
    "wasm_binaries": [str(EXAMPLES[name].module) for name in ("gelu", "softmax")],
    "container_config": {"base_image": parts.BASE_IMAGE, "wheelhouse": str(parts.WHEELHOUSE)},
}


class Place:
    """The folder that the commands run in, with a spec of two modules."""

    def __init__(self, folder: Path, cli: Cli) -> None:
        self.folder = folder
        self._cli = cli
        self.spec()

    def spec(self, **container: Any) -> None:
        config = SPEC["container_config"] | container
        (self.folder / "portalis.json").write_text(json.dumps(SPEC | {"container_config": config}))

    def build(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._cli("build-images", "portalis.json", *arguments)


@pytest.fixture
def place(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/d.sock")
    return Place(tmp_path / "cwd", cli)


@pytest.fixture
def docker(place: Place, monkeypatch: pytest.MonkeyPatch) -> str:
    host = parts.docker_engine()
    monkeypatch.setenv("DOCKER_HOST", host)
    return host


@pytest.mark.slow
def test_one_image_for_the_package_is_built_tried_and_exported(place: Place, docker: str) -> None:
    (place.folder / "out").mkdir()
    (place.folder / "out" / "earlier").touch()
    done = place.build("--package-image", "--export")
    assert done.returncode == 0, done.stderr
    folder = place.folder / "out-images"
    reference, image_id, size, tried, archive, last = done.stdout.splitlines()
    assert reference == "demo:1.0.0"
    assert re.fullmatch(r"  id: sha256:[0-9a-f]{64}", image_id)
    assert re.fullmatch(r"  size: [\d.]+ MiB in \d+ layers", size)
    assert tried.startswith("  tried: healthy after ") and "gelu, softmax answered over HTTP" in tried
    assert archive == f"  archive: {folder}/containers/demo/image.tar"
    assert re.fullmatch(rf"1 image in [\d.]+ s, with contexts in {re.escape(str(folder))}", last)
    # the engine's own words came as it built
    assert "Successfully tagged demo:1.0.0" in done.stderr
    assert re.search(r"demo:1\.0\.0 was built in [\d.]+ s: \d+ MiB", done.stderr)
    assert "skipped" not in done.stderr
    report = PackagingAgentOutput.model_validate_json((folder / "packaging-report.json").read_text())
    (image,) = report.artifacts.nim_containers
    assert f"  id: {image.image_id}" == image_id
    assert (place.folder / "out" / "earlier").exists()  # what was packaged before stays


@pytest.mark.slow
def test_only_the_modules_that_are_asked_for_get_an_image_and_no_smoke_says_so(place: Place, docker: str) -> None:
    done = place.build("--only", "softmax", "--no-smoke")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "demo-softmax:1.0.0"
    assert "  tried: no" in done.stdout.splitlines()
    assert "the image demo-softmax:1.0.0 was built but not tested: smoke tests are disabled" in done.stderr
    assert [path.name for path in (place.folder / "out-images" / "containers").iterdir()] == ["demo-softmax"]


def test_the_log_of_a_build_that_fails_is_kept_beside_what_was_not_made(place: Place, docker: str) -> None:
    place.spec(base_image="localhost:1/no-such/image:1")
    done = place.build("--only", "gelu")
    assert done.returncode == 1
    log = place.folder / "out-images-failed" / "logs" / "demo-gelu.build.log"
    assert f"    The whole log is in {log}" in done.stderr.splitlines()
    assert "FROM localhost:1/no-such/image:1" in log.read_text()
    assert "error: building demo-gelu:1.0.0 failed: " in done.stderr and "Traceback" not in done.stderr
    assert not (place.folder / "out-images").exists()
    assert done.stdout == "no image was built\n"


@pytest.mark.slow
def test_one_image_that_fails_leaves_the_others(place: Place, docker: str) -> None:
    bad = {"path": str(EXAMPLES["gelu"].module), "name": "bad", "interface": {"entry": "no_such_export"}}
    good = str(EXAMPLES["softmax"].module)
    (place.folder / "portalis.json").write_text(json.dumps(SPEC | {"wasm_binaries": [bad, good]}))
    done = place.build("--json")
    assert done.returncode == 3, done.stderr
    made = PackagingAgentOutput.model_validate_json(done.stdout)
    assert [image.image_name for image in made.artifacts.nim_containers] == ["demo-softmax"]
    (error,) = made.diagnostics.errors
    assert "no image demo-bad:1.0.0 was built" in error.message
    assert {result.name: result.valid for result in made.diagnostics.validation_results}["demo-softmax:1.0.0"]


@pytest.mark.slow
def test_a_build_that_takes_longer_than_the_timeout_is_given_up(place: Place, docker: str) -> None:
    # the first step of every build on this base takes an hour, whatever is cached
    slow = f"portalis-test/slow-{os.urandom(4).hex()}:1"
    (place.folder / "base").mkdir()
    (place.folder / "base" / "Dockerfile").write_text(f'FROM {parts.BASE_IMAGE}\nONBUILD RUN ["sleep", "3600"]\n')
    with ContainerEngine.find(environment={"DOCKER_HOST": docker}) as engine:
        engine.build(place.folder / "base", slow, network="none")
    place.spec(base_image=slow)
    done = place.build("--only", "gelu", "--timeout", "1", "--no-smoke")
    assert done.returncode == 1, done.stdout
    assert "building demo-gelu:1.0.0 took longer than 1 s and was aborted" in done.stderr
    assert "build_timeout" in done.stderr


def test_an_engine_that_is_not_there_is_told_with_what_to_do(place: Place) -> None:
    done = place.build()
    assert done.returncode == 1
    assert "error: no image was built: cannot connect to a Docker engine (unix:///nowhere/d.sock: " in done.stderr
    assert "systemctl start docker" in done.stderr
    # the contexts are not kept, so nothing is said of building them by hand
    assert "docker build" not in done.stderr
    assert "Traceback" not in done.stderr and not (place.folder / "out-images").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--engine", "lxc"], "--engine lxc: unknown container engine"),
        (["--only", "softmx"], "the package has no module 'softmx'"),
        (["--package-image", "--only", "gelu"], "--package-image and --only"),
        (["--wheelhouse", "nowhere"], "nowhere does not exist"),
        (["--triton"], "--triton builds one image and uses no spec"),
        (["--triton-image", "a:1"], "--triton-image requires --triton"),
        (["--timeout", "0"], "build-images -h"),
    ],
)
def test_bad_usage_is_refused_before_anything_is_made(place: Place, arguments: list[str], told: str) -> None:
    done = place.build(*arguments)
    assert done.returncode == 2
    assert told in " ".join(done.stderr.split())
    assert sorted(path.name for path in place.folder.iterdir()) == ["portalis.json"]
