"""Service images as a stage of the pipeline; tests/acceptance also builds them on a real engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portalis.contracts.errors import ErrorType
from portalis.contracts.output import PackagingAgentOutput, Status
from portalis.examples.catalog import EXAMPLES
from portalis.pipeline import Options, run_pipeline
from portalis.problems import InputProblems
from portalis.spec.read import make_spec
from tests import parts
from tests.portalis.pipeline.conftest import Listening


def run(
    folder: Path,
    *examples: str,
    modules: list[dict[str, Any]] | None = None,
    triton: dict[str, Any] | None = None,
    **config: Any,
) -> PackagingAgentOutput:
    data = {
        "package_name": "demo",
        "package_version": "1.2.3+build.4",
        "output_directory": "out",
        "wasm_binaries": [*(modules or ()), *(str(EXAMPLES[name].module) for name in examples)],
        "container_config": config,
        "triton_config": triton or {},
        "enable_triton_integration": False,
        "enable_omniverse_packaging": False,
    }
    return run_pipeline(make_spec(data, base=folder, source="the spec"), Options(only=["nim", "archive"]), Listening())


def context(folder: Path, name: str) -> dict[str, bytes]:
    place = folder / "out" / "containers" / name
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_without_an_engine_build_contexts_are_written_for_manual_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    made = run(tmp_path, "gelu", "softmax")
    assert made.status is Status.PartialSuccess
    assert made.artifacts.nim_containers == ()
    (error,) = made.diagnostics.errors
    assert error.error_type is ErrorType.ContainerBuildError
    files = context(tmp_path, "demo-gelu")
    assert files["models/gelu.wasm"] == EXAMPLES["gelu"].module.read_bytes()
    assert json.loads(files["models/service.json"])["models"][0]["name"] == "gelu"
    assert "HEALTHCHECK" in files["Dockerfile"].decode()
    # a tag cannot contain the plus sign of a version
    assert error.remediation.steps[0] == f"docker build -t demo-gelu:1.2.3-build.4 {tmp_path}/out/containers/demo-gelu"
    assert set(context(tmp_path, "demo-softmax")) >= {"Dockerfile", "models/softmax.wasm"}


def test_a_package_image_has_all_servable_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTAINER_HOST", f"unix://{tmp_path}/nothing.sock")
    opaque: list[dict[str, Any]] = [
        {"path": str(EXAMPLES["gelu"].module), "name": "opaque", "interface": {"entry": "no_such_export"}}
    ]
    made = run(tmp_path, "gelu", "softmax", modules=opaque, package_image=True, runtime="Podman")
    assert [path.name for path in (tmp_path / "out" / "containers").iterdir()] == ["demo"]
    files = context(tmp_path, "demo")
    modules = {name for name in files if name.startswith("models/") and name.endswith(".wasm")}
    assert modules == {"models/gelu.wasm", "models/softmax.wasm"}
    assert [model["name"] for model in json.loads(files["models/service.json"])["models"]] == ["gelu", "softmax"]
    left_out, unavailable = made.diagnostics.errors
    assert left_out.message.startswith("opaque is not in the image demo:1.2.3-build.4: ")
    assert "cannot connect to a Podman engine" in unavailable.message
    place = f"{tmp_path}/out/containers/demo"
    # Podman's own format would lose the health check
    assert unavailable.remediation.steps == (f"podman build --format docker -t demo:1.2.3-build.4 {place}",)
    assert unavailable.details is not None
    assert unavailable.details.model_dump()["failed_containers"] == ("demo:1.2.3-build.4",)


@pytest.mark.engine
def test_the_log_of_a_failed_build_is_written_next_to_the_files_of_other_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", parts.docker_engine())
    made = run(tmp_path, "gelu", base_image="localhost:1/no-such/image:1")
    assert made.status is Status.PartialSuccess
    log = tmp_path / "out" / "logs" / "demo-gelu.build.log"
    (error,) = made.diagnostics.errors
    assert error.remediation.steps == (f"The whole log is in {log}",)
    assert "FROM localhost:1/no-such/image:1" in log.read_text()
    assert str(log) in made.package_metadata.checksums
    assert not (tmp_path / "out-failed").exists()


@pytest.mark.slow
@pytest.mark.engine
def test_a_failed_image_does_not_prevent_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", parts.docker_engine())
    trap = {"entry": "gelu", "convention": "elementwise"}
    modules: list[dict[str, Any]] = [
        {"path": str(EXAMPLES["gelu"].module), "name": "good", "interface": trap},
        {"path": str(EXAMPLES["gelu"].module), "name": "bad", "interface": {"entry": "no_such_export"}},
    ]
    made = run(
        tmp_path,
        modules=modules,
        base_image=parts.BASE_IMAGE,
        wheelhouse=str(parts.WHEELHOUSE),
        export_image=True,
        environment_vars={"GREETING": "line\nbreak $HOME"},
    )
    assert made.status is Status.PartialSuccess
    (image,) = made.artifacts.nim_containers
    assert image.image_name == "demo-good"
    assert image.environment_vars == {"GREETING": "line\nbreak $HOME"}
    assert image.image_archive_path is not None
    assert made.package_metadata.checksums[image.image_archive_path]
    assert any(image.image_archive_path.endswith(entry) for entry in ("containers/demo-good/image.tar",))
    (error,) = made.diagnostics.errors
    assert error.details is not None
    assert error.details.model_dump()["failed_containers"] == ("demo-bad:1.2.3-build.4",)
    assert "no_such_export" in error.message


@pytest.mark.parametrize(
    ("module", "config", "where", "message"),
    [
        ("Gelu", {}, "wasm_binaries[0].name", "the name of the image, 'demo-Gelu', is not a valid image name"),
        ("a b", {}, "wasm_binaries[0].name", "'a b' is not a model name"),
        ("gelu", {"image_tag": "a/b"}, "container_config.image_tag", "'a/b' is not a valid image tag"),
        ("gelu", {"image_name": "UPPER"}, "wasm_binaries[0].name", "the name of the image, 'UPPER'"),
        (
            "gelu",
            {"image_name": "UPPER", "package_image": True},
            "container_config.image_name",
            "the name of the image, 'UPPER'",
        ),
        (
            "gelu",
            {"image_tag": "a/b", "package_image": True},
            "container_config.image_tag",
            "'a/b' is not a valid image tag",
        ),
        ("gelu", {"wasm_runtime_path": "/bin/sh"}, "container_config.wasm_runtime_path", "Wasmtime is a library"),
        ("gelu", {"base_image": "a b"}, "container_config.base_image", "expected an image reference, got 'a b'"),
    ],
)
def test_invalid_values_are_reported_before_anything_is_written(
    tmp_path: Path, module: str, config: dict[str, Any], where: str, message: str
) -> None:
    with pytest.raises(InputProblems) as problems:
        run(tmp_path, modules=[{"path": str(EXAMPLES["gelu"].module), "name": module}], **config)
    assert any(problem.where == where and message in problem.message for problem in problems.value.problems)
    assert not (tmp_path / "out").exists()


def test_equal_inputs_have_equal_contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    run(tmp_path, "gelu")
    first = context(tmp_path, "demo-gelu")
    run(tmp_path, "gelu")
    assert context(tmp_path, "demo-gelu") == first


def test_a_runtime_with_an_unknown_hash_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    messages = [
        warning.message for warning in run(tmp_path, "gelu", wasm_runtime_version="50.0.7").diagnostics.warnings
    ]
    assert any("wasmtime==50.0.7 without verifying its hash" in message for message in messages)
    messages = [warning.message for warning in run(tmp_path, "gelu").diagnostics.warnings]
    assert not any("hash" in message for message in messages)


def test_a_wheelhouse_for_a_different_python_is_reported_before_an_engine_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "numpy-2.2.6-cp311-cp311-manylinux2014_x86_64.whl").write_bytes(b"")
    with pytest.raises(InputProblems) as problems:
        run(tmp_path, "gelu", base_image="python:3.13-slim", wheelhouse=str(folder))
    messages = [each.message for each in problems.value.problems if each.where == "container_config.wheelhouse"]
    assert "numpy-2.2.6-cp311-cp311-manylinux2014_x86_64.whl differs from" in messages[0]
    assert " for Python 3.13 on Linux" in messages[1]
    assert not (tmp_path / "out").exists()


def smooth(model: str, name: str = "smooth") -> dict[str, Any]:
    """An ensemble of one step."""
    tensor = {"name": "raw", "data_type": "FP32", "dims": [-1]}
    step = {"model_name": model, "input_map": {"x": "raw"}, "output_map": {"y": "out"}}
    return {"name": name, "inputs": [tensor], "outputs": [{**tensor, "name": "out"}], "steps": [step]}


def test_the_image_of_a_package_contains_its_ensembles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    ensembles = [smooth("demo_gelu"), smooth("lost"), smooth("lost", "outer"), smooth("inner", "inner")]
    ensembles[2]["steps"][0]["model_name"] = "smooth"
    ensembles[1]["name"] = "lost_model"
    made = run(tmp_path, "gelu", "softmax", triton={"ensembles": ensembles}, package_image=True)
    served = json.loads(context(tmp_path, "demo")["models/service.json"])["ensembles"]
    assert [(each["name"], each["steps"][0]["model_name"]) for each in served] == [
        ("smooth", "gelu"),
        ("outer", "smooth"),
    ]
    messages = [each.message for each in made.diagnostics.warnings if "ensemble" in each.message]
    unknown, circle = messages
    assert unknown == (
        "no image serves the ensemble 'lost_model' of the spec: its model 'lost' is neither a module nor an ensemble of"
        " the package"
    )
    assert circle.endswith("'inner' of the spec: steps: the ensemble contains itself: inner -> inner")


def test_a_warning_names_ensembles_that_images_of_one_module_do_not_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    warnings = run(tmp_path, "gelu", triton={"ensembles": [smooth("gelu")]}).diagnostics.warnings
    (found,) = [each for each in warnings if "ensemble" in each.message]
    assert found.message == (
        "no image serves the ensemble 'smooth' of the spec: an image of one module serves this module only"
    )
    assert "container_config.package_image = true" in found.remediation
    assert b"ensembles" not in context(tmp_path, "demo-gelu")["models/service.json"]
    assert not any("ensemble" in each.message for each in run(tmp_path, "gelu").diagnostics.warnings)
