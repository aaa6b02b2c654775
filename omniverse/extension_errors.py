"""What went wrong, as errors of the contract (requirements 4.3 and 5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from ..contracts.errors import ErrorType, OmniversePackagingError
from ..contracts.output import PackagingWarning
from ..target import StageError
from .compatibility import Compatibility
from .extension_checks import ExtensionFinding


def incompatible_module_error(name: str, result: Compatibility) -> StageError:
    """A module that the check keeps out."""
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
    """Every module of the package is kept out."""
    details = [each.details for each in errors if isinstance(each.details, OmniversePackagingError)]
    return StageError(
        ErrorType.OmniverseCompatibilityError,
        "no module of the package can run in Omniverse Kit: " + "; ".join(each.message for each in errors),
        remediation="Change a module as the steps say, or set enable_omniverse_packaging to false.",
        steps=dict.fromkeys(step for each in errors for step in each.steps),
        details=OmniversePackagingError(
            incompatible_modules=tuple(name for each in details for name in each.incompatible_modules),
            validation_errors=tuple(text for each in details for text in each.validation_errors),
        ),
    )


def invalid_extension_error(identifier: str, wrong: Sequence[ExtensionFinding]) -> StageError:
    """An extension that a check, or Kit, does not take."""
    remedies = tuple(dict.fromkeys(each.remedy for each in wrong))
    return StageError(
        ErrorType.OmniverseCompatibilityError,
        f"the extension {identifier} was made, but is not valid: {'; '.join(map(str, wrong))}",
        remediation=f"{' '.join(remedies)} Then package again; `portalis doctor` says which Kit was found.",
        steps=remedies,
        details=OmniversePackagingError(validation_errors=tuple(map(str, wrong))),
    )


def no_node_error(warnings: Sequence[PackagingWarning]) -> StageError:
    """OmniGraph nodes are wanted, and no module can be one."""
    return StageError(
        ErrorType.OmniverseCompatibilityError,
        "no module is an OmniGraph node, and omniverse_config.omnigraph_nodes asks for them: "
        + "; ".join(each.message for each in warnings),
        remediation=f"{warnings[0].remediation} Or set omniverse_config.omnigraph_nodes to false.",
    )


def no_wheels_error(warning: PackagingWarning) -> StageError:
    """The spec says that the libraries are to lie in the extension, and they are not there."""
    return StageError(
        ErrorType.OmniverseCompatibilityError,
        f"{warning.message} (omniverse_config.prebundle is true)",
        remediation=warning.remediation,
    )


def unreadable_module_error(name: str, why: str) -> StageError:
    """A file that is no module at all."""
    return StageError(
        ErrorType.OmniverseCompatibilityError,
        f"module {name} cannot be read: {why}",
        remediation="Name a WebAssembly module in omniverse_config.wasm_modules.",
        steps=("Name a WebAssembly module in omniverse_config.wasm_modules.",),
        details=OmniversePackagingError(incompatible_modules=(name,), validation_errors=(why,)),
    )
