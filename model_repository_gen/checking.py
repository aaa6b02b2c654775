"""Says of each model whether it is valid, and how that was found out: without a server, and on a real one."""

from __future__ import annotations

from dataclasses import replace

from portalis.contracts.artifacts import TritonModelArtifact
from portalis.contracts.errors import ErrorType, TritonConfigError
from portalis.contracts.output import PackagingWarning, ValidationResult, WarningSeverity
from portalis.model_repository_gen.live import try_on_triton
from portalis.model_repository_gen.problem import Problem, Severity
from portalis.model_repository_gen.repository_check import check_repository
from portalis.target import Job, Made, StageError

STATIC, LIVE = "static", "live"


def checked(job: Job, made: Made) -> Made:
    """`made` with `validated` and `validation_report` of each model, and an error for each that is not valid."""
    repository = job.staging / job.spec.triton_config.model_repository_path
    found = check_repository(repository)
    models = [artifact.model_name for artifact in made.artifacts.triton_models]
    results = [_static(name, found.get(name, [])) for name in models]
    if job.live:
        sound = [result.name for result in results if result.valid]
        job.say(f"starting Triton with {len(sound)} models")
        results += try_on_triton(repository, sound, job.say) if sound else []
    artifacts = tuple(_told(artifact, results) for artifact in made.artifacts.triton_models)
    return replace(
        made,
        artifacts=made.artifacts.model_copy(update={"triton_models": artifacts}),
        errors=(*made.errors, *(_error(result) for result in results if not result.valid)),
        warnings=(*made.warnings, *(_warning(name, p) for name in models for p in found.get(name, ()) if _mild(p))),
        validation_results=(*made.validation_results, *results),
    )


def _mild(problem: Problem) -> bool:
    return problem.severity is Severity.WARNING


def _static(name: str, found: list[Problem]) -> ValidationResult:
    wrong = [str(problem) for problem in found if not _mild(problem)]
    report = "; ".join(wrong) or "config.pbtxt reads back, its files are there, and Triton's rules hold"
    return ValidationResult(name=name, check=STATIC, valid=not wrong, report=report)


def _told(artifact: TritonModelArtifact, results: list[ValidationResult]) -> TritonModelArtifact:
    own = [result for result in results if result.name == artifact.model_name]
    report = "\n".join(f"{result.check}: {result.report}" for result in own)
    return artifact.model_copy(
        update={"validated": bool(own) and all(result.valid for result in own), "validation_report": report}
    )


def _error(result: ValidationResult) -> StageError:
    how = "on a real Triton server" if result.check == LIVE else "by Triton's rules"
    return StageError(
        ErrorType.TritonConfigError,
        f"model {result.name!r} is not valid {how}: {result.report}",
        remediation="Mend triton_config in the spec, and package again.",
        details=TritonConfigError(failed_models=(result.name,), validation_errors=(result.report,)),
    )


def _warning(name: str, problem: Problem) -> PackagingWarning:
    where = f", {problem.where}" if problem.where else ""
    return PackagingWarning(
        message=f"model {name!r}{where}: {problem.message}",
        severity=WarningSeverity.Medium,
        remediation=problem.remediation or "Look at triton_config in the spec.",
    )
