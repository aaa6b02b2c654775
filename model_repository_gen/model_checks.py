"""Validates each model of a package: statically, by Triton's rules, and live, on a real Triton server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..contracts.artifacts import TritonModelArtifact
from ..contracts.errors import ErrorType, TritonConfigError
from ..contracts.output import PackagingWarning, ValidationResult, WarningSeverity
from ..interface_check import config_problem
from ..target import Job, StageError, TargetResult
from .live import Verdict, validate_on_triton, validation_copy
from .pbtxt import CONFIG_FILE, read_config, to_dict
from .repository import MODULE_FILE
from .repository_check import check_repository
from .rules.model_folder import served_versions
from .rules.rule import PYTHON_BASED, ConfigProblem, ConfigSeverity

STATIC = "static"
_REMEDIATION = "Fix the model's triton_config in the spec, and package again."
_KEPT = (
    "Remove the directory of that version from the repository, set triton_config.keep_versions to false, or"
    " change the module's interface to that of the version."
)


def check_models(job: Job, result: TargetResult) -> TargetResult:
    """`result` with `validated` and `validation_report` set for each model, and an error for each invalid one."""
    repository = job.staging / job.spec.triton_config.model_repository_path
    problems = check_repository(repository, auto_complete=False)  # the configurations are complete
    models = [artifact.model_name for artifact in result.artifacts.triton_models]
    incompatible = {
        each.model_name: list(_incompatible_versions(repository, each)) for each in result.artifacts.triton_models
    }
    results = [_static(name, problems.get(name, []), incompatible[name]) for name in models]
    if job.live:
        valid = [each.name for each in results if each.valid]
        job.report(f"starting Triton with {len(valid)} models")
        if valid:
            platforms = {artifact.platform for artifact in result.artifacts.triton_models}
            with validation_copy(repository, platforms) as path:
                results += validate_on_triton(path, valid, job.report)
    artifacts = tuple(_with_report(artifact, results) for artifact in result.artifacts.triton_models)
    return replace(
        result,
        artifacts=result.artifacts.model_copy(update={"triton_models": artifacts}),
        errors=(*result.errors, *(_error(each) for each in results if each.tried and not each.valid)),
        warnings=(
            *result.warnings,
            *(_warning(name, each) for name in models for each in problems.get(name, ()) if _is_warning(each)),
            *_not_validated(results),
        ),
        validation_results=(*result.validation_results, *results),
    )


def _is_warning(problem: ConfigProblem) -> bool:
    return problem.severity is ConfigSeverity.WARNING


def _incompatible_versions(repository: Path, artifact: TritonModelArtifact) -> Iterator[str]:
    """Problems of versions from earlier runs, whose modules might not match the configuration of this version."""
    folder = repository / artifact.model_name
    if len(list(folder.glob("*/"))) < 2:
        return  # the common case: no other version
    config = read_config(folder / CONFIG_FILE)
    for version in served_versions(config, folder) if config.backend in PYTHON_BASED else ():
        module = folder / str(version) / MODULE_FILE
        if version == artifact.model_version or not module.is_file():
            continue
        reason = config_problem(module, to_dict(config))
        if reason:
            yield f"version {version}, which was kept, would not load: {reason}"


def _static(name: str, problems: list[ConfigProblem], incompatible: list[str]) -> ValidationResult:
    errors = [*(str(problem) for problem in problems if not _is_warning(problem)), *incompatible]
    if not errors:
        report = "config.pbtxt is readable, its files exist, and Triton's rules are met"
        return ValidationResult(name=name, check=STATIC, valid=True, report=report)
    remediations = [problem.remediation for problem in problems if not _is_warning(problem)]
    remediations += [_KEPT] * bool(incompatible)
    remediation = " ".join(dict.fromkeys(filter(None, remediations)))
    return Verdict(name=name, check=STATIC, valid=False, report="; ".join(errors), remediation=remediation)


def _with_report(artifact: TritonModelArtifact, results: list[ValidationResult]) -> TritonModelArtifact:
    own = [result for result in results if result.name == artifact.model_name]
    report = "\n".join(f"{result.check}: {result.report}" for result in own)
    return artifact.model_copy(
        update={"validated": bool(own) and all(result.valid for result in own), "validation_report": report}
    )


def _not_validated(results: list[ValidationResult]) -> Iterator[PackagingWarning]:
    for result in results:
        if not result.tried:
            yield PackagingWarning(
                message=f"model {result.name!r} is not validated: no Triton server is available",
                severity=WarningSeverity.Medium,
                remediation="Package where a Triton server can be started; `portalis doctor` shows what it requires.",
            )


def _error(result: ValidationResult) -> StageError:
    how = "by Triton's rules" if result.check == STATIC else "on a real Triton server"
    return StageError(
        ErrorType.TritonConfigError,
        f"model {result.name!r} is not valid {how}: {result.report}",
        remediation=(isinstance(result, Verdict) and result.remediation) or _REMEDIATION,
        details=TritonConfigError(failed_models=(result.name,), validation_errors=(result.report,)),
    )


def _warning(name: str, problem: ConfigProblem) -> PackagingWarning:
    where = f", {problem.where}" if problem.where else ""
    return PackagingWarning(
        message=f"model {name!r}{where}: {problem.message}",
        severity=WarningSeverity.Medium,
        remediation=problem.remediation or "Check triton_config in the spec.",
    )
