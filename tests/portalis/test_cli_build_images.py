"""`portalis build-images`: images on a real engine, its output, and the files that remain after a failure."""

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


class Workplace:
    """A working directory with a spec of two modules."""

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
def workplace(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/d.sock")
    return Workplace(tmp_path / "cwd", cli)


@pytest.fixture
def docker(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> str:
    host = parts.docker_engine()
    monkeypatch.setenv("DOCKER_HOST", host)
    return host


@pytest.mark.slow
def test_one_image_for_the_package_is_built_tested_and_exported(workplace: Workplace, docker: str) -> None:
    (workplace.folder / "out").mkdir()
    (workplace.folder / "out" / "earlier").touch()
    done = workplace.build("--package-image", "--export")
    assert done.returncode == 0, done.stderr
    folder = workplace.folder / "out-images"
    reference, image_id, size, tried, archive, last = done.stdout.splitlines()
    assert reference == "demo:1.0.0"
    assert re.fullmatch(r"  id: sha256:[0-9a-f]{64}", image_id)
    assert re.fullmatch(r"  size: [\d.]+ MiB in \d+ layers", size)
    assert tried.startswith("  smoke test: healthy after ") and "gelu, softmax answered over HTTP" in tried
    assert archive == f"  archive: {folder}/containers/demo/image.tar"
    assert re.fullmatch(rf"1 image in [\d.]+ s, with contexts in {re.escape(str(folder))}", last)
    # stderr contains the engine's build output
    assert "Successfully tagged demo:1.0.0" in done.stderr
    assert re.search(r"demo:1\.0\.0 was built in [\d.]+ s: \d+ MiB", done.stderr)
    assert "skipped" not in done.stderr
    report = PackagingAgentOutput.model_validate_json((folder / "packaging-report.json").read_text())
    (image,) = report.artifacts.nim_containers
    assert f"  id: {image.image_id}" == image_id
    assert (workplace.folder / "out" / "earlier").exists()  # files of an earlier package remain


@pytest.mark.slow
def test_only_builds_images_of_the_named_modules_and_no_smoke_warns_that_they_are_untested(
    workplace: Workplace, docker: str
) -> None:
    done = workplace.build("--only", "softmax", "--no-smoke")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "demo-softmax:1.0.0"
    assert "  smoke test: not run" in done.stdout.splitlines()
    assert "the image demo-softmax:1.0.0 was built but not tested: smoke tests are disabled" in done.stderr
    assert [path.name for path in (workplace.folder / "out-images" / "containers").iterdir()] == ["demo-softmax"]


def test_the_log_of_a_failed_build_is_kept(workplace: Workplace, docker: str) -> None:
    workplace.spec(base_image="localhost:1/no-such/image:1")
    done = workplace.build("--only", "gelu")
    assert done.returncode == 1
    log = workplace.folder / "out-images-failed" / "logs" / "demo-gelu.build.log"
    assert f"    The whole log is in {log}" in done.stderr.splitlines()
    assert "FROM localhost:1/no-such/image:1" in log.read_text()
    assert "error: building demo-gelu:1.0.0 failed: " in done.stderr and "Traceback" not in done.stderr
    assert not (workplace.folder / "out-images").exists()
    assert done.stdout == "no image was built\n"


@pytest.mark.slow
def test_a_failed_image_does_not_affect_the_others(workplace: Workplace, docker: str) -> None:
    bad = {"path": str(EXAMPLES["gelu"].module), "name": "bad", "interface": {"entry": "no_such_export"}}
    good = str(EXAMPLES["softmax"].module)
    (workplace.folder / "portalis.json").write_text(json.dumps(SPEC | {"wasm_binaries": [bad, good]}))
    done = workplace.build("--json")
    assert done.returncode == 3, done.stderr
    report = PackagingAgentOutput.model_validate_json(done.stdout)
    assert [image.image_name for image in report.artifacts.nim_containers] == ["demo-softmax"]
    (error,) = report.diagnostics.errors
    assert "no image demo-bad:1.0.0 was built" in error.message
    assert {result.name: result.valid for result in report.diagnostics.validation_results}["demo-softmax:1.0.0"]


@pytest.mark.slow
def test_a_build_that_exceeds_the_timeout_is_aborted(workplace: Workplace, docker: str) -> None:
    # the first step of every build on this base image takes an hour and is never cached
    slow = f"portalis-test/slow-{os.urandom(4).hex()}:1"
    (workplace.folder / "base").mkdir()
    (workplace.folder / "base" / "Dockerfile").write_text(f'FROM {parts.BASE_IMAGE}\nONBUILD RUN ["sleep", "3600"]\n')
    with ContainerEngine.find(environment={"DOCKER_HOST": docker}) as engine:
        engine.build(workplace.folder / "base", slow, network="none")
    workplace.spec(base_image=slow)
    done = workplace.build("--only", "gelu", "--timeout", "1", "--no-smoke")
    assert done.returncode == 1, done.stdout
    assert "building demo-gelu:1.0.0 took longer than 1 s and was aborted" in done.stderr
    assert "build_timeout" in done.stderr


def test_a_missing_engine_is_an_error_with_a_remediation(workplace: Workplace) -> None:
    done = workplace.build()
    assert done.returncode == 1
    assert "error: no image was built: cannot connect to a Docker engine (unix:///nowhere/d.sock: " in done.stderr
    assert "systemctl start docker" in done.stderr
    # the contexts are not kept, so the error must not suggest to build them manually
    assert "docker build" not in done.stderr
    assert "Traceback" not in done.stderr and not (workplace.folder / "out-images").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
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
def test_usage_errors_are_reported_before_anything_is_built(
    workplace: Workplace, arguments: list[str], message: str
) -> None:
    done = workplace.build(*arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert sorted(path.name for path in workplace.folder.iterdir()) == ["portalis.json"]
