"""The targets that a run must produce, because a key of the spec or a command-line option requests them.

Status, exit code, report and summary follow from this: a requested artifact that is missing is an error, regardless of
what else was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from ..contracts.errors import ErrorType
from ..spec import PackageSpec
from ..target import Module, StageError
from .options import Options
from .outcome import Outcome, Produced, Skipped, Stage
from .stage import ERROR_TYPES
from .target_registry import TARGETS

# documentation and deployment manifests have no key: they follow from the artifacts of other targets
ENABLING_KEYS: Final = {
    "nim": "enable_nim_packaging",
    "triton": "enable_triton_integration",
    "omniverse": "enable_omniverse_packaging",
    "archive": "enable_distribution_archive",
    "publish": "publish_to_registry",
}
SERVING_TARGETS: Final = ("nim", "triton", "omniverse")
_LIVE_CHECKS = ("live", "smoke run")
_INTERFACE = (
    "Declare the interface of {} in the spec (wasm_binaries.interface), or write it into the module with `portalis"
    " annotate`"
)


def requested_by(name: str, options: Options) -> str | None:
    """The option or key that requests the target `name`; None for a target that only follows from others."""
    return f"--only {name}" if name in options.only else ENABLING_KEYS.get(name)


def disabled_by_spec(name: str, reason: str, options: Options) -> Skipped:
    """The outcome of a target that the spec disables: skipped, and an error if `--only` names it."""
    if name not in options.only:
        return Skipped(reason=reason)
    key = ENABLING_KEYS.get(name)
    error = StageError(
        ERROR_TYPES[TARGETS[name].stage],
        f"--only {name} requests a target that the spec disables: {reason}",
        remediation=f"Set {key} to true, or omit --only {name}." if key else f"Omit --only {name}.",
    )
    return Skipped(reason=reason, errors=(error,))


def nothing_generated(name: str, requester: str, skipped: Skipped) -> Skipped:
    """The outcome of a target that `requester`, an option or key, requests but that generated nothing: an error."""
    error = StageError(
        ERROR_TYPES[TARGETS[name].stage],
        f"{requester} requests the target {name}, and nothing was generated: {skipped.reason}",
        remediation=f"Omit {requester}, or enable the targets that it requires.",
    )
    return Skipped(reason=skipped.reason, errors=skipped.errors or (error,))


def unservable_reason(module: Module) -> str | None:
    """The reason why no target can serve the module unchanged, or None."""
    found = module.inspection
    return found.refused or (found.no_interface or "its interface is not known" if found.interface is None else None)


def serving_remediation(module: Module) -> str:
    """The remediation for a module that no target can serve, without the full stop."""
    return (
        "Build it without the features that the sandbox rejects"
        if module.inspection.refused
        else _INTERFACE.format(module.name)
    )


def unservable_modules(spec: PackageSpec, options: Options, modules: Sequence[Module]) -> Iterator[StageError]:
    """An error for each unservable module that only an archive would contain.

    Targets for models, images and extensions report their own errors about the modules that they reject.
    """
    enabled = [
        name
        for name in SERVING_TARGETS
        if options.skip_reason(name) is None and TARGETS[name].load().skip_reason(spec) is None
    ]
    listed = spec.omniverse_config.wasm_modules if enabled == ["omniverse"] else ()
    if enabled and not listed:
        return
    in_extension = {each.file_path for each in listed}
    for module in modules:
        reason = unservable_reason(module)
        if reason is not None and module.path not in in_extension:
            yield StageError(
                ErrorType.ValidationError,
                f"{module.name} is in no target of the package, and none could serve it: {reason}",
                remediation=f"{serving_remediation(module)}; then enable a target, such as enable_triton_integration.",
            )


def require_validation(outcome: Outcome) -> Outcome:
    """`outcome` with an error if a requested validation of its artifacts was not possible."""
    if not isinstance(outcome, Produced):
        return outcome
    not_validated = [result for result in outcome.result.validation_results if not result.tried]
    if not not_validated:
        return outcome
    names = ", ".join(result.name for result in not_validated)
    error = StageError(
        ErrorType.ValidationError,
        f"artifacts were not validated ({names}): {not_validated[0].report}",
        remediation="`portalis doctor` shows what is missing. Without --validate live no server is started.",
    )
    return replace(outcome, result=replace(outcome.result, errors=(*outcome.result.errors, error)))


def nothing_validated(stages: Sequence[Stage]) -> Iterator[StageError]:
    """The error of a run with live validation in which no artifact was validated and no serving target has failed."""
    serving = [stage for stage in stages if stage.name in SERVING_TARGETS]
    validated = any(each.check in _LIVE_CHECKS for stage in stages for each in stage.result.validation_results)
    if not validated and not any(stage.errors for stage in serving):
        yield StageError(
            ErrorType.ValidationError,
            "nothing was validated on a real server: no model, image or extension was generated",
            remediation="Enable the target to validate, or omit --validate live.",
        )


def empty_run_error(stages: Sequence[Stage]) -> StageError:
    """The error of a run that generated nothing although no stage has an error."""
    reasons = "; ".join(f"{each.name}: {each.outcome.reason}" for each in stages if isinstance(each.outcome, Skipped))
    return StageError(
        ErrorType.ValidationError,
        f"nothing was generated ({reasons})",
        remediation="Enable a target, or skip fewer targets.",
    )
