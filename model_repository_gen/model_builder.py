"""Makes each model of a package: its configuration, checked before anything is written, its files, its artifact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..contracts.artifacts import TritonModelArtifact
from ..contracts.errors import ErrorType, TritonConfigError
from ..contracts.output import PackagingWarning, WarningSeverity
from ..interface_check import INTERFACE_KEYS, interface_under, trouble_under, unloadable_under
from ..output import OutputTree, Source
from ..output.package_layout import model_folder, model_name
from ..spec.triton import LatestVersions, TritonConfiguration, VersionPolicyType
from ..target import Job, Module, StageError
from .message import ModelSource, build_ensemble_config, build_model_config
from .message.model_config import backend_name, runs_wasm
from .package_settings import (
    DroppedSetting,
    dropped_setting_warnings,
    fit_settings,
    inherited_settings,
    unused_setting_errors,
)
from .pbtxt import CONFIG_FILE, ModelConfig, to_dict
from .repository import add_ensemble, add_kept_versions, add_model
from .rules import check_model_config
from .rules.rule import ConfigSeverity

if TYPE_CHECKING:
    from ..backend.interface.interface import Interface


REMEDY = "Fix triton_config or the module's interface in the spec; `portalis inspect` shows the module's."


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltModels:
    """What could be made and what could not."""

    artifacts: tuple[TritonModelArtifact, ...] = ()
    errors: tuple[StageError, ...] = ()
    warnings: tuple[PackagingWarning, ...] = ()


def add_models(job: Job, tree: OutputTree) -> BuiltModels:
    """A model for each module of the package, put into `tree`."""
    artifacts, errors, warnings = list[TritonModelArtifact](), list[StageError](), list[PackagingWarning]()
    settings = list[tuple[str, tuple[str, ...], tuple[DroppedSetting, ...]]]()
    for module in job.modules:
        name = model_name(job.spec, module.binary)
        try:
            fitted = fit_settings(job.spec, module.binary, partial(_config, module, name))
        except StageError as error:
            errors.append(error)
            continue
        config, given, folder = fitted.config, fitted.given, model_folder(job.spec, name)
        settings.append((name, inherited_settings(job.spec, module.binary), fitted.left_out))
        warnings += dropped_setting_warnings(name, fitted.left_out)
        placed = add_model(tree, folder, config, given, Source(path=module.path, sha256=module.inspection.sha256))
        artifacts.append(_artifact(job, folder, config, given.model_version, backend_name(given), placed))
        if given.keep_versions and job.previous is not None:
            kept = add_kept_versions(tree, folder, job.previous, given.model_version)
            warnings += _not_served(name, given, kept)
    errors += unused_setting_errors(settings)
    return BuiltModels(artifacts=tuple(artifacts), errors=tuple(errors), warnings=tuple(warnings))


def _config(module: Module, name: str, given: TritonConfiguration) -> ModelConfig:
    """Raises StageError with everything that Triton or the backend would refuse."""
    interface, why = _interface(module, given)
    if runs_wasm(given):
        _check_loadable(name, module, interface, given)
    if interface is None and not (given.inputs and given.outputs):
        raise _refused(name, [why or f"{module.path} has no interface"])
    config = build_model_config(ModelSource(name=name, interface=interface, declared=module.binary.interface), given)
    found = [str(problem) for problem in check_model_config(config) if problem.severity is ConfigSeverity.ERROR]
    trouble = trouble_under(module.path, to_dict(config)) if runs_wasm(given) else None
    if found or trouble:
        raise _refused(name, [*found, *([trouble] if trouble else [])])
    return config


def _check_loadable(name: str, module: Module, interface: Interface | None, given: TritonConfiguration) -> None:
    """Raise StageError where the runtime would not load the module, with what to do about it."""
    found = unloadable_under(module.path, module.inspection, interface, given.backend_parameters)
    if found:
        remediation = " ".join(dict.fromkeys(each.remediation for each in found))
        raise _refused(name, [each.why for each in found], remediation)


def _interface(module: Module, given: TritonConfiguration) -> tuple[Interface | None, str | None]:
    """What inspection found; where the backend's parameters say more of the module, what it is under them."""
    if runs_wasm(given) and any(key in given.backend_parameters for key in INTERFACE_KEYS):
        declared = module.binary.interface.model_dump(mode="json", exclude_none=True)
        return interface_under(module.path, declared, given.backend_parameters)
    return module.inspection.interface, module.inspection.no_interface


def _refused(name: str, why: list[str], remediation: str = REMEDY) -> StageError:
    return StageError(
        ErrorType.TritonConfigError,
        f"model {name!r} would not load: {'; '.join(why)}",
        remediation=remediation,
        details=TritonConfigError(failed_models=(name,), config_errors=tuple(why)),
    )


def _artifact(
    job: Job, folder: PurePosixPath, config: ModelConfig, version: int, platform: str, module: PurePosixPath | None
) -> TritonModelArtifact:
    return TritonModelArtifact(
        model_name=config.name,
        model_version=version,
        model_repository_path=job.final(folder),
        config_pbtxt_path=job.final(folder / CONFIG_FILE),
        wasm_model_paths=() if module is None else (job.final(module),),
        platform=platform,
        max_batch_size=config.max_batch_size,
        instance_count=sum(group.count for group in config.instance_group),
        validated=False,
    )


def _not_served(name: str, given: TritonConfiguration, kept: list[int]) -> Iterator[PackagingWarning]:
    """A version that is kept in the repository is not yet one that the policy serves."""
    policy = given.version_policy.policy
    if isinstance(policy, LatestVersions):
        served = set(sorted([*kept, given.model_version])[-policy.Latest :])
    elif policy is VersionPolicyType.All:
        served = {*kept, given.model_version}
    else:
        served = set(given.version_policy.versions or ())
    unserved = [str(version) for version in [*kept, given.model_version] if version not in served]
    if unserved:
        yield PackagingWarning(
            message=f"version {', '.join(unserved)} of model {name!r} is in the repository, and its policy does not"
            " serve it",
            severity=WarningSeverity.Medium,
            remediation='Set version_policy, for example { policy = "All" } or { policy = { Latest = 2 } }.',
        )


def add_ensembles(job: Job, tree: OutputTree, made: tuple[TritonModelArtifact, ...]) -> BuiltModels:
    """The ensembles of the package, put into `tree`; one whose models could not be made is an error."""
    by_module = {module.name: model_name(job.spec, module.binary) for module in job.modules}
    there = {artifact.model_name for artifact in made} | {each.name for each in job.spec.triton_config.ensembles}
    artifacts, errors = list[TritonModelArtifact](), list[StageError]()
    for ensemble in job.spec.triton_config.ensembles:
        config = build_ensemble_config(ensemble, by_module)
        steps = [step.model_name for step in config.ensemble_scheduling.step]
        found = [f"its model {name!r} could not be made" for name in steps if name not in there]
        found += [str(problem) for problem in check_model_config(config) if problem.severity is ConfigSeverity.ERROR]
        if found:
            errors.append(_refused(ensemble.name, found))
            continue
        folder = model_folder(job.spec, ensemble.name)
        add_ensemble(tree, folder, config, ensemble)
        artifacts.append(_artifact(job, folder, config, ensemble.version, "ensemble", None))
    return BuiltModels(artifacts=tuple(artifacts), errors=tuple(errors))
