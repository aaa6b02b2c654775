"""Creates the target's errors as defined by the contract (requirements 4.3 and 5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from ..contracts.errors import ErrorType, OmniversePackagingError
from ..contracts.output import PackagingWarning
from ..target import StageError
from .compatibility import Compatibility
from .extension_checks import ExtensionFinding


def incompatible_module_error(name: str, result: Compatibility) -> StageError:
    """The error for a module that the compatibility check excludes."""
    steps = [each.remediation for each in result.blocking]
    return StageError(
        ErrorType.OmniverseCompatibilityError,
        f"module {name} cannot run in Omniverse Kit: {'; '.join(map(str, result.blocking))}",
        remediation=steps[0],
        steps=steps,
        details=OmniversePackagingError(
            incompatible_modules=(name,), validation_errors=tuple(map(str, result.blocking))
        ),
    )


def no_module_left_error(errors: Sequence[StageError]) -> StageError:
    """The error for a package whose modules are all excluded."""
    details = [each.details for each in errors if isinstance(each.details, OmniversePackagingError)]
    return StageError(
        ErrorType.OmniverseCompatibilityError,
        "no module of the package can run in Omniverse Kit: " + "; ".join(each.message for each in errors),
        remediation="Change a module as described in the steps, or set enable_omniverse_packaging to false.",
        steps=dict.fromkeys(step for each in errors for step in each.steps),
        details=OmniversePackagingError(
            incompatible_modules=tuple(name for each in details for name in each.incompatible_modules),
            validation_errors=tuple(text for each in details for text in each.validation_errors),
        ),
    )


def invalid_extension_error(identifier: str, findings: Sequence[ExtensionFinding]) -> StageError:
    """The error for an extension that failed a check, or failed in Kit."""
    remediations = tuple(dict.fromkeys(each.remediation for each in findings))
    return StageError(
        ErrorType.OmniverseCompatibilityError,
        f"the extension {identifier} was generated, but is invalid: {'; '.join(map(str, findings))}",
        remediation=f"{' '.join(remediations)} Then package again; `portalis doctor` shows which Kit was found.",
        steps=remediations,
        details=OmniversePackagingError(validation_errors=tuple(map(str, findings))),
    )


def no_node_error(warnings: Sequence[PackagingWarning]) -> StageError:
    """The error for a spec that requests OmniGraph nodes if no module can be a node."""
    return StageError(
        ErrorType.OmniverseCompatibilityError,
        "no module can be an OmniGraph node, although omniverse_config.omnigraph_nodes is true: "
        + "; ".join(each.message for each in warnings),
        remediation=f"{warnings[0].remediation} Or set omniverse_config.omnigraph_nodes to false.",
    )


def no_wheels_error(warning: PackagingWarning) -> StageError:
    """The error for a spec that sets ``prebundle`` if the libraries are unavailable."""
    return StageError(
        ErrorType.OmniverseCompatibilityError,
        f"{warning.message} (omniverse_config.prebundle is true)",
        remediation=warning.remediation,
    )


def unreadable_module_error(name: str, reason: str) -> StageError:
    """The error for a file that is not a WebAssembly module."""
    return StageError(
        ErrorType.OmniverseCompatibilityError,
        f"module {name} cannot be read: {reason}",
        remediation="Name a WebAssembly module in omniverse_config.wasm_modules.",
        steps=("Name a WebAssembly module in omniverse_config.wasm_modules.",),
        details=OmniversePackagingError(incompatible_modules=(name,), validation_errors=(reason,)),
    )
