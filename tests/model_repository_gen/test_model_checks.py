"""The validation result of each model, its report, and the errors and warnings for the user."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portalis.contracts.errors import ErrorType, TritonConfigError
from portalis.contracts.output import ValidationResult, WarningSeverity
from portalis.model_repository_gen import model_checks
from portalis.model_repository_gen import model_repository_target as target
from portalis.target import Job, TargetResult
from tests.model_repository_gen import jobs
from tests.model_repository_gen.jobs import REPOSITORY

SOUND = "config.pbtxt is readable, its files exist, and Triton's rules are met"


def made_in(folder: Path, *modules: Any, live: bool = False, **triton: Any) -> tuple[Job, TargetResult]:
    """A job and the result of `generate`, written to its staging directory."""
    job = jobs.job(jobs.make(folder, *modules, **triton), folder / "staging", live=live)
    made = target.generate(job)
    for entry in made.tree:
        path = job.staging / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.content if isinstance(entry.content, bytes) else entry.content.path.read_bytes())
    return job, made


def test_a_valid_model_has_a_validation_report(tmp_path: Path) -> None:
    job, made = made_in(tmp_path, "echo")
    assert [model.validated for model in made.artifacts.triton_models] == [False]
    found = model_checks.check_models(job, made)
    assert found.validation_results == (ValidationResult(name="demo_echo", check="static", valid=True, report=SOUND),)
    (model,) = found.artifacts.triton_models
    assert model.validated
    assert model.validation_report == f"static: {SOUND}"
    assert found.errors == ()
    assert found.warnings == ()


def test_a_damaged_file_is_found(tmp_path: Path) -> None:
    job, made = made_in(tmp_path, "echo", "add")
    (job.staging / REPOSITORY / "demo_add" / "1" / "model.wasm").unlink()
    found = model_checks.check_models(job, made)
    echo, add = found.artifacts.triton_models
    assert echo.validated and not add.validated
    (error,) = found.errors
    why = "1/model.wasm: the model's file is missing. Add it, or name it with default_model_filename."
    assert error.message == f"model 'demo_add' is not valid by Triton's rules: {why}"
    assert error.remediation == "Add it, or name it with default_model_filename."
    assert error.kind is ErrorType.TritonConfigError
    assert error.details == TritonConfigError(failed_models=("demo_add",), validation_errors=(why,))
    assert add.validation_report == f"static: {why}"


def test_a_setting_that_triton_ignores_is_a_warning(tmp_path: Path) -> None:
    job, made = made_in(tmp_path, "unbatched", dynamic_batching={}, instance_groups=[{"passive": True}])
    found = model_checks.check_models(job, made)
    assert [model.validated for model in found.artifacts.triton_models] == [True]
    assert [(each.message, each.severity) for each in found.warnings] == [
        (
            (
                "model 'demo_unbatched', dynamic_batching: dynamic batching has no effect: the model does"
                " not batch (max_batch_size is 0)"
            ),
            WarningSeverity.Medium,
        ),
        (
            (
                "model 'demo_unbatched', instance_group: every instance group is passive: the model loads, but never"
                " answers a request"
            ),
            WarningSeverity.Medium,
        ),
    ]
    assert found.warnings[0].remediation == "Set max_batch_size, or remove dynamic_batching."
    assert found.errors == ()


def test_a_kept_version_that_does_not_match_the_new_configuration_is_an_error(tmp_path: Path) -> None:
    policy = {"policy": "All"}
    job, made = made_in(tmp_path, "echo", model_version=2, version_policy=policy)
    folder = job.staging / REPOSITORY / "demo_echo"
    (folder / "1").mkdir()
    (folder / "1" / "model.wasm").write_bytes(jobs.MODULES["add"])
    found = model_checks.check_models(job, made)
    (reported,) = (error.message for error in found.errors)
    assert "version 1, which was kept, would not load: model.wasm: entry 'add'" in reported
    assert not found.artifacts.triton_models[0].validated
    (folder / "1" / "model.wasm").write_bytes(jobs.MODULES["echo"])
    assert model_checks.check_models(job, made).errors == ()


def test_a_version_that_is_not_served_need_not_match(tmp_path: Path) -> None:
    job, made = made_in(tmp_path, "echo", model_version=2)
    folder = job.staging / REPOSITORY / "demo_echo"
    (folder / "1").mkdir()
    (folder / "1" / "model.wasm").write_bytes(jobs.MODULES["add"])
    assert model_checks.check_models(job, made).errors == ()


def test_only_valid_models_are_validated_on_a_server_which_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, made = made_in(tmp_path, "echo", "add", "unbatched", live=True)
    (job.staging / REPOSITORY / "demo_add" / "1" / "model.wasm").unlink()
    reports: list[str] = []
    asked: list[list[str]] = []

    def answers(repository: Path, models: list[str], say: Any) -> list[ValidationResult]:
        assert repository == job.staging / REPOSITORY
        asked.append(models)
        verdicts = [("demo_echo", True, "it answers"), ("demo_unbatched", False, "it is mute")]
        return [ValidationResult(name=name, check="live", valid=valid, report=text) for name, valid, text in verdicts]

    monkeypatch.setattr(model_checks, "validate_on_triton", answers)
    found = model_checks.check_models(replace(job, report=reports.append), made)
    assert asked == [["demo_echo", "demo_unbatched"]]
    assert reports == ["starting Triton with 2 models"]
    echo, add, unbatched = found.artifacts.triton_models
    assert (echo.validated, add.validated, unbatched.validated) == (True, False, False)
    assert echo.validation_report == f"static: {SOUND}\nlive: it answers"
    assert unbatched.validation_report == f"static: {SOUND}\nlive: it is mute"
    assert found.errors[1].message == "model 'demo_unbatched' is not valid on a real Triton server: it is mute"
    assert [result.check for result in found.validation_results] == ["static"] * 3 + ["live"] * 2


def test_no_server_is_started_without_a_valid_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, made = made_in(tmp_path, "echo", live=True)
    (job.staging / REPOSITORY / "demo_echo" / "1" / "model.wasm").unlink()
    monkeypatch.setattr(model_checks, "validate_on_triton", lambda *_: pytest.fail("a server was asked"))
    assert not model_checks.check_models(job, made).artifacts.triton_models[0].validated


def test_earlier_results_are_kept(tmp_path: Path) -> None:
    job, made = made_in(tmp_path, "echo", "opaque")
    earlier = ValidationResult(name="other", check="static", valid=True, report="")
    found = model_checks.check_models(job, replace(made, validation_results=(earlier,)))
    assert found.errors == made.errors
    assert found.validation_results[0] == earlier
    assert found.tree is made.tree
