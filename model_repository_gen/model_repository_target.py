"""The Triton target: a model repository that a server loads without changes."""

from __future__ import annotations

from collections.abc import Iterable

from ..contracts.errors import ErrorType, TritonConfigError
from ..contracts.output import Artifacts
from ..output import OutputTree
from ..problems import Problem
from ..spec import PackageSpec
from ..target import Job, StageError, TargetResult
from .model_builder import add_ensembles, add_models
from .model_checks import check_models
from .spec_rules import model_problems


def skip_reason(spec: PackageSpec) -> str | None:
    """The reason to skip the target, or None."""
    return None if spec.enable_triton_integration else "enable_triton_integration is false"


def spec_problems(spec: PackageSpec) -> Iterable[Problem]:
    """Parts of the spec from which no valid model can be built."""
    return model_problems(spec)


def generate(job: Job) -> TargetResult:
    """A directory for each module and ensemble. A model that cannot be built is an error; the others are still built.

    Raises StageError if no model can be built.
    """
    tree = OutputTree()
    modules = add_models(job, tree)
    ensembles = add_ensembles(job, tree, modules.artifacts)
    artifacts, errors = modules.artifacts + ensembles.artifacts, modules.errors + ensembles.errors
    if not artifacts:
        raise _no_models(errors)
    return TargetResult(
        tree=tree, artifacts=Artifacts(triton_models=artifacts), errors=errors, warnings=modules.warnings
    )


def run(job: Job, made: TargetResult) -> TargetResult:
    """Validate the written repository by Triton's rules and, if requested, on a real server."""
    return check_models(job, made)


def _no_models(errors: tuple[StageError, ...]) -> StageError:
    if len(errors) == 1:
        return errors[0]
    details = [error.details for error in errors if isinstance(error.details, TritonConfigError)]
    return StageError(
        ErrorType.TritonConfigError,
        "no model could be built: " + "; ".join(error.message for error in errors),
        remediation=errors[0].remediation,
        details=TritonConfigError(
            failed_models=tuple(name for each in details for name in each.failed_models),
            config_errors=tuple(text for each in details for text in each.config_errors),
        ),
    )
