"""Acceptance scenarios of the requirements (6.3) with real parts: Docker, Triton, Kit and archives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from portalis.contracts.json_schemas import schema_text
from portalis.contracts.output import PackagingAgentOutput
from tests import parts

from .test_contracts import check_invariants
from .upstream import test_agent_output

CONTAINERS = {"base_image": parts.BASE_IMAGE, "wheelhouse": str(parts.WHEELHOUSE)}


def package(folder: Path, agent_output: dict[str, Any], *options: str, docker: str) -> tuple[int, PackagingAgentOutput]:
    """Run `portalis package --input` in a new process; returns its exit code and its report."""
    file = folder / "packaging-input.json"
    del agent_output["agent"], agent_output["context"]["started"]
    file.write_text(json.dumps(agent_output))
    command = [sys.executable, "-m", "portalis", "package", "--input", str(file), "--json", *options]
    environment = os.environ | {"DOCKER_HOST": docker}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.stdout, done.stderr
    jsonschema.validate(json.loads(done.stdout), json.loads(schema_text("output")))
    return done.returncode, PackagingAgentOutput.model_validate_json(done.stdout)


@pytest.mark.slow
@pytest.mark.triton
@pytest.mark.engine
@pytest.mark.kit
def test_acceptance_scenario_1_the_complete_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = parts.docker_engine()
    parts.tritonserver()
    monkeypatch.setenv("PORTALIS_KIT_PYTHON", str(parts.kit()))
    monkeypatch.setenv("OMNI_KIT_ACCEPT_EULA", "YES")
    monkeypatch.setenv("OMNI_KIT_ALLOW_ROOT", "1")
    agent_output = test_agent_output(tmp_path, "gelu", container_config=CONTAINERS)
    code, report = package(tmp_path, agent_output, "--validate", "live", docker=docker)
    assert (code, report.status) == (0, "success"), report.diagnostics.errors
    artifacts = report.artifacts
    assert len(artifacts.nim_containers) > 0
    assert len(artifacts.triton_models) > 0
    assert len(artifacts.omniverse_packages) > 0
    assert len(artifacts.distribution_archives) > 0
    assert len(artifacts.api_documentation) > 0
    assert len(artifacts.integration_guides) > 0
    assert len(artifacts.deployment_manifests) > 0
    check_invariants(report, tmp_path / "out")
    check_image(artifacts.nim_containers[0].model_dump(), docker)
    assert all(result.valid for result in report.diagnostics.validation_results), report.diagnostics.validation_results
    assert {result.check for result in report.diagnostics.validation_results} >= {"static", "live"}
    assert all(model.validated for model in artifacts.triton_models)
    assert all(extension.validated for extension in artifacts.omniverse_packages)
    assert "live: version 1 loads and returns y [1, 1]" in (artifacts.triton_models[0].validation_report or "")
    check_archive(Path(artifacts.distribution_archives[0].archive_path))
    # live validation by Triton and Kit and the smoke test have left no files in the output
    done = subprocess.run(
        [sys.executable, "-m", "portalis", "verify", tmp_path / "out"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def check_image(image: dict[str, Any], docker: str) -> None:
    """Check that the engine has the image of the report."""
    from docker import APIClient

    assert (image["image_name"], image["image_tag"]) == ("activations-gelu", "1.2.0")
    client = APIClient(base_url=docker, version="auto")
    try:
        inspected = client.inspect_image("activations-gelu:1.2.0")
    finally:
        client.close()
    assert inspected["Id"] == image["image_id"]
    assert image["image_digest"].startswith("sha256:")
    assert image["exposed_ports"] == (8000, 8001, 9090)
    assert any("COPY" in layer["created_by"] for layer in image["layers"])
    assert image["health_check_config"]["endpoint"] == "/health"


def check_archive(path: Path) -> None:
    """Check that the archive contains every file at the path that the requirements define (3.5)."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "README.md",
        "manifest.json",
        "wasm/gelu.wasm",
        "containers/activations-gelu/Dockerfile",
        "triton/activations_gelu/config.pbtxt",
        "triton/activations_gelu/1/model.wasm",
        "src/src/lib.rs",
        "tests/test_results.json",
        "tests/parity_report.json",
    } <= names
    assert any(name.startswith("docs/") for name in names)
    assert any(name.startswith("deployment/") for name in names)


def test_acceptance_scenario_4_partial_success(tmp_path: Path) -> None:
    agent_output = test_agent_output(tmp_path, "gelu", enable_omniverse_packaging=False)
    code, report = package(tmp_path, agent_output, docker="unix:///nowhere/d.sock")
    assert (code, report.status) == (3, "partial_success")
    assert len(report.artifacts.nim_containers) == 0
    assert len(report.artifacts.triton_models) > 0
    assert len(report.artifacts.distribution_archives) > 0
    (error,) = report.diagnostics.errors
    assert error.error_type == "ContainerBuildError"
    assert error.context.stage == "NimGeneration"
    assert "cannot connect to a Docker engine" in error.message
    assert "/nowhere/d.sock" in error.message
    assert "Docker" in error.remediation.summary
    assert error.details is not None
    assert error.details.model_dump()["failed_containers"] == ("activations-gelu:1.2.0",)
    (warning,) = [each for each in report.diagnostics.warnings if "NIM" in each.message]
    assert (warning.message, warning.severity, warning.remediation) == (
        "NIM containers not generated - Docker deployment unavailable",
        "High",
        "Install Docker and retry packaging",
    )
    manifest = report.package_metadata.package_manifest
    assert manifest is not None
    assert manifest.notes == ("Partial packaging - some stages failed", "Failed: NimGeneration")
    check_invariants(report, tmp_path / "out")
