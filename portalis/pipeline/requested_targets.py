"""What a run was asked for, by a key of the spec or an option of the command line, and what of it was not made.

Status, exit code, report and summary follow from this: what was asked for and not made is an error, whatever else was
written.
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
from .stage import ERRORS
from .target_registry import TARGETS

# Documents and manifests have no key of their own: they follow from what the others make.
KEYS: Final = {
    "nim": "enable_nim_packaging",
    "triton": "enable_triton_integration",
    "omniverse": "enable_omniverse_packaging",
    "archive": "enable_distribution_archive",
    "publish": "publish_to_registry",
}
SERVING: Final = ("nim", "triton", "omniverse")
_TRIALS = ("live", "smoke run")
_INTERFACE = (
    "Declare the interface of {} in the spec (wasm_binaries.interface), or write it into the module with `portalis"
    " annotate`"
)


def asked_by(name: str, options: Options) -> str | None:
    """The option or the key that asks for a target that neither leaves out; None where nothing asks for it alone."""
    return f"--only {name}" if name in options.only else KEYS.get(name)


def turned_off(name: str, reason: str, options: Options) -> Skipped:
    """How a target ends that the spec does not want, for `reason`: wrongly, where the command line names it."""
    if name not in options.only:
        return Skipped(reason=reason)
    key = KEYS.get(name)
    told = StageError(
        ERRORS[TARGETS[name].stage],
        f"--only {name} asks for what the spec turns off: {reason}",
        remediation=f"Set {key} to true, or leave --only {name} out." if key else f"Leave --only {name} out.",
    )
    return Skipped(reason=reason, errors=(told,))


def not_made(name: str, by: str, skipped: Skipped) -> Skipped:
    """A target that is asked for `by` an option or key, and found nothing to make: with an error that says so."""
    told = StageError(
        ERRORS[TARGETS[name].stage],
        f"{by} asks for the target {name}, and nothing was made: {skipped.reason}",
        remediation=f"Leave {by} out, or let the targets run that it needs.",
    )
    return Skipped(reason=skipped.reason, errors=skipped.errors or (told,))


def why_unservable(module: Module) -> str | None:
    """Why no target can serve the module as it is; None where one can."""
    found = module.inspection
    return found.refused or (found.no_interface or "its interface is not known" if found.interface is None else None)


def remedy(module: Module) -> str:
    """What to do about a module that no target can serve, as a sentence without its end."""
    return "Build it without what the sandbox refuses" if module.inspection.refused else _INTERFACE.format(module.name)


def stranded(spec: PackageSpec, options: Options, modules: Sequence[Module]) -> Iterator[StageError]:
    """An error for each module that nothing can serve and no target will tell of: it only lies in an archive. Models,
    images and extensions tell themselves what they cannot take."""
    runs = [
        name for name in SERVING if options.leaves_out(name) is None and TARGETS[name].load().skip_reason(spec) is None
    ]
    listed = spec.omniverse_config.wasm_modules if runs == ["omniverse"] else ()
    if runs and not listed:
        return
    inside = {each.file_path for each in listed}
    for module in modules:
        why = why_unservable(module)
        if why is not None and module.path not in inside:
            yield StageError(
                ErrorType.ValidationError,
                f"{module.name} is in no target of the package, and none could serve it: {why}",
                remediation=f"{remedy(module)}; then enable a target, such as enable_triton_integration.",
            )


def checked(outcome: Outcome) -> Outcome:
    """`outcome` with an error where a check of what was made was asked for, and could not be made."""
    if not isinstance(outcome, Produced):
        return outcome
    untried = [result for result in outcome.made.validation_results if not result.tried]
    if not untried:
        return outcome
    names = ", ".join(result.name for result in untried)
    told = StageError(
        ErrorType.ValidationError,
        f"what was made is not validated ({names}): {untried[0].report}",
        remediation="`portalis doctor` says what is missing here. Without --validate live no server is started.",
    )
    return replace(outcome, made=replace(outcome.made, errors=(*outcome.made.errors, told)))


def untried(stages: Sequence[Stage]) -> Iterator[StageError]:
    """The error of a run that was to try what it makes, and of which no stage has tried anything, or has failed."""
    served = [stage for stage in stages if stage.name in SERVING]
    tried = any(result.check in _TRIALS for stage in stages for result in stage.made.validation_results)
    if not tried and not any(stage.errors for stage in served):
        yield StageError(
            ErrorType.ValidationError,
            "nothing was tried on a real server: no model, image or extension was made",
            remediation="Enable the target that is to be tried, or leave --validate live out.",
        )


def nothing_made(stages: Sequence[Stage]) -> StageError:
    """The error of a run that failed without one."""
    why = "; ".join(f"{each.name}: {each.outcome.reason}" for each in stages if isinstance(each.outcome, Skipped))
    return StageError(
        ErrorType.ValidationError, f"nothing was made ({why})", remediation="Enable a target, or leave out fewer."
    )
