"""Says of each model whether it is valid, and how that was found out: without a server, and on a real one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..contracts.artifacts import TritonModelArtifact
from ..contracts.errors import ErrorType, TritonConfigError
from ..contracts.output import PackagingWarning, ValidationResult, WarningSeverity
from ..interface_check import trouble_under
from ..target import Job, StageError, TargetResult
from .live import Verdict, validate_on_triton, validation_copy
from .pbtxt import CONFIG_FILE, read_config, to_dict
from .repository import MODULE_FILE
from .repository_check import check_repository
from .rules.model_folder import served_versions
from .rules.rule import PYTHON_BASED, ConfigProblem, ConfigSeverity

STATIC = "static"
_REMEDY = "Fix the model's triton_config in the spec, and package again."
_KEPT = (
    "Remove the folder of that version from the repository, set triton_config.keep_versions to false, or give the"
    " module the interface that the version has."
)


def check_models(job: Job, made: TargetResult) -> TargetResult:
    """`made` with `validated` and `validation_report` of each model, and an error for each that is not valid."""
    repository = job.staging / job.spec.triton_config.model_repository_path
    found = check_repository(repository, auto_complete=False)  # nothing was left for a server to complete
    models = [artifact.model_name for artifact in made.artifacts.triton_models]
    misfits = {each.model_name: list(_misfits(repository, each)) for each in made.artifacts.triton_models}
    results = [_static(name, found.get(name, []), misfits[name]) for name in models]
    if job.live:
        sound = [result.name for result in results if result.valid]
        job.say(f"starting Triton with {len(sound)} models")
        if sound:
            platforms = {artifact.platform for artifact in made.artifacts.triton_models}
            with validation_copy(repository, platforms) as seen:
                results += validate_on_triton(seen, sound, job.say)
    artifacts = tuple(_told(artifact, results) for artifact in made.artifacts.triton_models)
    return replace(
        made,
        artifacts=made.artifacts.model_copy(update={"triton_models": artifacts}),
        errors=(*made.errors, *(_error(result) for result in results if result.tried and not result.valid)),
        warnings=(
            *made.warnings,
            *(_warning(name, p) for name in models for p in found.get(name, ()) if _mild(p)),
            *_unsure(results),
        ),
        validation_results=(*made.validation_results, *results),
    )


def _mild(problem: ConfigProblem) -> bool:
    return problem.severity is ConfigSeverity.WARNING


def _misfits(repository: Path, artifact: TritonModelArtifact) -> Iterator[str]:
    """The versions of earlier runs whose modules the configuration, which is this version's, does not fit."""
    folder = repository / artifact.model_name
    if len(list(folder.glob("*/"))) < 2:
        return  # the common case: nothing was kept
    config = read_config(folder / CONFIG_FILE)
    for version in served_versions(config, folder) if config.backend in PYTHON_BASED else ():
        module = folder / str(version) / MODULE_FILE
        if version == artifact.model_version or not module.is_file():
            continue
        trouble = trouble_under(module, to_dict(config))
        if trouble:
            yield f"version {version}, which is kept, would not load: {trouble}"


def _static(name: str, found: list[ConfigProblem], misfits: list[str]) -> ValidationResult:
    wrong = [*(str(problem) for problem in found if not _mild(problem)), *misfits]
    if not wrong:
        report = "config.pbtxt reads back, its files are there, and Triton's rules hold"
        return ValidationResult(name=name, check=STATIC, valid=True, report=report)
    remedies = [problem.remediation for problem in found if not _mild(problem)] + [_KEPT] * bool(misfits)
    remedy = " ".join(dict.fromkeys(filter(None, remedies)))
    return Verdict(name=name, check=STATIC, valid=False, report="; ".join(wrong), remediation=remedy)


def _told(artifact: TritonModelArtifact, results: list[ValidationResult]) -> TritonModelArtifact:
    own = [result for result in results if result.name == artifact.model_name]
    report = "\n".join(f"{result.check}: {result.report}" for result in own)
    return artifact.model_copy(
        update={"validated": bool(own) and all(result.valid for result in own), "validation_report": report}
    )


def _unsure(results: list[ValidationResult]) -> Iterator[PackagingWarning]:
    for result in results:
        if not result.tried:
            yield PackagingWarning(
                message=f"model {result.name!r} is not validated: it was not tried on a server",
                severity=WarningSeverity.Medium,
                remediation="Package where a Triton server can be started; `portalis doctor` says what it needs.",
            )


def _error(result: ValidationResult) -> StageError:
    how = "by Triton's rules" if result.check == STATIC else "on a real Triton server"
    return StageError(
        ErrorType.TritonConfigError,
        f"model {result.name!r} is not valid {how}: {result.report}",
        remediation=(isinstance(result, Verdict) and result.remediation) or _REMEDY,
        details=TritonConfigError(failed_models=(result.name,), validation_errors=(result.report,)),
    )


def _warning(name: str, problem: ConfigProblem) -> PackagingWarning:
    where = f", {problem.where}" if problem.where else ""
    return PackagingWarning(
        message=f"model {name!r}{where}: {problem.message}",
        severity=WarningSeverity.Medium,
        remediation=problem.remediation or "Look at triton_config in the spec.",
    )
