"""One spec in, one output directory and one truthful report out."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from portalis.contracts.errors import ErrorType, PackagingStage
from portalis.contracts.output import PackagingAgentOutput, Status
from portalis.errors import UsageError
from portalis.model_repository_gen import model_repository_target as triton
from portalis.output import REPORT
from portalis.pipeline.target_registry import TARGETS
from portalis.problems import InputProblems
from tests.parts import ROOT

from .conftest import Workplace

ADD_MODEL = ["triton/demo_add/1/model.wasm", "triton/demo_add/config.pbtxt"]


def test_the_stages_run_in_the_order_of_the_requirements(workplace: Workplace) -> None:
    made = workplace.package(workplace.spec("add"))
    names = ["nim", "triton", "omniverse", "docs", "deployment", "archive", "publish"]
    assert [stage.name for stage in made.packaging_metrics.stages] == names == list(TARGETS)
    assert [stage.name for stage in workplace.listening.stages] == names
    assert made.packaging_metrics.packaging_time_seconds >= made.packaging_metrics.triton_config_time > 0
    assert made.packaging_metrics.nim_generation_time == 0


def test_a_success_has_what_was_wanted_and_nothing_else(workplace: Workplace) -> None:
    made = workplace.package(workplace.spec("add"), only=["triton"])
    assert made.status is Status.Success
    assert workplace.files() == sorted(["manifest.json", REPORT, *ADD_MODEL])
    assert made.diagnostics.errors == ()
    assert made.package_metadata.total_artifacts == 1


def test_the_report_lies_in_the_output_directory(workplace: Workplace) -> None:
    made = workplace.package(workplace.spec("add"), only=["triton"])
    text = (workplace.output / REPORT).read_text()
    assert PackagingAgentOutput.model_validate_json(text) == made


def test_a_module_that_cannot_be_a_model_is_a_partial_success(workplace: Workplace) -> None:
    made = workplace.package(workplace.spec("add", "opaque"), only=["triton"])
    assert made.status is Status.PartialSuccess
    assert [model.model_name for model in made.artifacts.triton_models] == ["demo_add"]
    (error,) = made.diagnostics.errors
    assert error.error_type is ErrorType.TritonConfigError
    assert error.context.stage is PackagingStage.TritonConfiguration
    assert error.context.pipeline_id == "demo-1.2.3"
    assert error.details is not None
    assert error.details.model_dump()["failed_models"] == ("demo_opaque",)
    assert "may take pointers" in error.message
    assert error.remediation.summary
    manifest = made.package_metadata.package_manifest
    assert manifest is not None
    assert manifest.notes == (
        "Partial packaging - some stages failed",
        "Incomplete: TritonConfiguration (1 of 2 made)",
    )


def test_a_module_that_the_sandbox_does_not_take_becomes_no_model(workplace: Workplace) -> None:
    wat = '(module (import "env" "f" (func)) (func (export "g") (param f32) (result f32) (call 0) (local.get 0)))'
    workplace.module("imports", wat)
    made = workplace.package(workplace.spec("add", "imports"), only=["triton"])
    assert [model.model_name for model in made.artifacts.triton_models] == ["demo_add"]
    assert "model 'demo_imports' would not load: it has imports that the host does not provide: env.f" in (
        made.diagnostics.errors[0].message
    )


def test_nothing_usable_is_a_failure_that_leaves_the_old_output(workplace: Workplace) -> None:
    workplace.package(workplace.spec("add"), only=["triton"])
    before = {path: (workplace.output / path).read_bytes() for path in workplace.files()}
    made = workplace.package(workplace.spec("opaque"), only=["triton"])
    assert made.status is Status.Failure
    assert made.artifacts.total_artifacts_count() == 0
    assert made.package_metadata.package_manifest is None
    assert made.package_metadata.checksums == {}
    assert [w.message for w in made.diagnostics.warnings] == [
        "Triton models not configured - Triton deployment unavailable"
    ]
    assert {path: (workplace.output / path).read_bytes() for path in workplace.files()} == before


def test_the_first_failure_stops_a_run_with_fail_on_partial_errors(workplace: Workplace) -> None:
    spec = workplace.spec("add", "opaque", fail_on_partial_errors=True, enable_distribution_archive=True)
    made = workplace.package(spec)
    assert made.status is Status.Failure
    assert not workplace.output.exists()
    reasons = {stage.name: stage.reason for stage in made.packaging_metrics.stages}
    assert reasons["archive"] == "an earlier stage failed, and fail_on_partial_errors is true"


def test_running_again_replaces_the_whole_output(workplace: Workplace) -> None:
    workplace.module("mul")
    workplace.package(workplace.spec("add", "mul"), only=["triton"])
    workplace.package(workplace.spec("add"), only=["triton"])
    assert not any("mul" in path for path in workplace.files())


def test_a_directory_that_portalis_has_not_written_is_not_replaced(workplace: Workplace) -> None:
    workplace.output.mkdir()
    (workplace.output / "thesis.tex").touch()
    with pytest.raises(UsageError, match="was not written by portalis"):
        workplace.package(workplace.spec("add"), only=["triton"])
    assert (workplace.output / "thesis.tex").exists()
    workplace.package(workplace.spec("add"), only=["triton"], force=True)
    assert not (workplace.output / "thesis.tex").exists()


def test_a_target_that_breaks_is_its_own_failure(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(job: Any) -> Any:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(triton, "generate", broken)
    made = workplace.package(workplace.spec("add", enable_distribution_archive=True))
    assert made.status is Status.PartialSuccess
    (error,) = made.diagnostics.errors
    assert "ZeroDivisionError: oh" in error.message
    assert "report this" in error.remediation.summary
    assert len(made.artifacts.distribution_archives) == 1


def test_what_a_stage_wrote_is_gone_when_its_second_step_fails(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(job: Any, made: Any) -> Any:
        raise PermissionError(13, "Permission denied", "engine.sock")

    monkeypatch.setattr(triton, "run", broken)
    made = workplace.package(workplace.spec("add", enable_distribution_archive=True))
    (error,) = made.diagnostics.errors
    assert (error.error_type, error.message) == (ErrorType.IOError, "engine.sock: Permission denied")
    assert not any("triton/" in path for path in workplace.files())


def test_an_artifact_without_its_file_is_never_reported(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    act = triton.run

    def loses_a_file(job: Any, made: Any) -> Any:
        done = act(job, made)
        (job.staging / ADD_MODEL[0]).unlink()
        return done

    monkeypatch.setattr(triton, "run", loses_a_file)
    with pytest.raises(Exception, match=r"the package is incomplete.*demo_add/1/model\.wasm"):
        workplace.package(workplace.spec("add"), only=["triton"])
    assert not workplace.output.exists()


def test_all_invalid_modules_are_reported_at_once(workplace: Workplace) -> None:
    (workplace.folder / "empty.wasm").touch()
    (workplace.folder / "text.wasm").write_text("hello")
    with pytest.raises(InputProblems) as caught:
        workplace.package(workplace.spec("empty", "add", "text"))
    assert [problem.where for problem in caught.value.problems] == ["wasm_binaries[0].path", "wasm_binaries[2].path"]
    assert not workplace.output.exists()


def test_names_that_a_target_rejects_are_reported_before_anything_is_written(workplace: Workplace) -> None:
    workplace.module("A B")
    spec = workplace.spec("A B", enable_nim_packaging=True, package_name="../x")
    with pytest.raises(InputProblems) as caught:
        workplace.package(spec)
    text = str(caught.value)
    assert "the name of the Triton model, '../x_A B'" in text
    assert "the name of the image, '../x-A B'" in text
    assert not workplace.output.exists()


def test_problems_of_names_modules_and_reports_are_reported_together(workplace: Workplace) -> None:
    (workplace.folder / "empty.wasm").touch()
    (workplace.folder / "results.json").write_text("[]")
    spec = workplace.spec("empty", package_name="a/b", test_results="results.json")
    with pytest.raises(InputProblems) as caught:
        workplace.package(spec)
    places = [problem.where for problem in caught.value.problems]
    assert "wasm_binaries[0]" in places  # the name of the model
    assert "wasm_binaries[0].path" in places
    assert "test_results" in places


def test_an_unknown_target_is_named_with_the_nearest(workplace: Workplace) -> None:
    with pytest.raises(UsageError, match="unknown target 'tritn'\nDid you mean 'triton'"):
        workplace.package(workplace.spec("add"), only=["tritn"])


def test_no_target_left_is_bad_usage(workplace: Workplace) -> None:
    with pytest.raises(UsageError, match="no target is left to run"):
        workplace.package(workplace.spec("add"), only=["omniverse"])


def test_the_same_input_gives_the_same_bytes(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    spec = workplace.spec("add", enable_distribution_archive=True)
    workplace.package(spec)
    first = {path: (workplace.output / path).read_bytes() for path in workplace.files()}
    workplace.package(spec)
    second = {path: (workplace.output / path).read_bytes() for path in workplace.files()}
    del first[REPORT], second[REPORT]  # it has timings
    assert first == second
    assert json.loads(first["manifest.json"])["created_at"] == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize("epoch", ["soon", "-1", "1e9", "99999999999999"])
def test_a_creation_time_that_is_none_is_refused(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, epoch: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH is"):
        workplace.package(workplace.spec("add"))


def test_a_full_disk_leaves_the_old_output(workplace: Workplace) -> None:
    """The limit on a file's size stands for the full disk: writing fails half-way in the same place."""
    workplace.package(workplace.spec("add"), only=["triton"])
    before = {path: (workplace.output / path).read_bytes() for path in workplace.files()}
    big = workplace.folder / "add.wasm"
    big.write_bytes(big.read_bytes() + b"\0\xff\xff\x7f\x03pad" + bytes(0x1FFFFF - 4))
    spec = workplace.folder / "spec.json"
    spec.write_text(
        json.dumps(
            {
                "package_name": "demo",
                "package_version": "2.0.0",
                "output_directory": "out",
                "wasm_binaries": ["add.wasm"],
            }
        )
    )
    program = "import sys; from portalis.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "package", str(spec), "--only", "triton"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
    )
    assert done.returncode == 1, done.stderr
    assert "cannot write" in done.stderr
    assert "is unchanged" in done.stderr
    assert {path: (workplace.output / path).read_bytes() for path in workplace.files()} == before
    assert not list(workplace.folder.glob(".out*"))


def test_paths_in_the_report_are_absolute_and_there(workplace: Workplace) -> None:
    made = workplace.package(workplace.spec("add", enable_distribution_archive=True))
    for path in made.package_metadata.checksums:
        assert Path(path).is_file()
        assert Path(path).is_absolute()
    for model in made.artifacts.triton_models:
        assert Path(model.config_pbtxt_path).is_file()
        assert Path(model.model_repository_path).is_dir()
