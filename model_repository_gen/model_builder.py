"""Builds each model of a package: its configuration, checked before files are written, its files and its artifact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..contracts.artifacts import TritonModelArtifact
from ..contracts.errors import ErrorType, TritonConfigError
from ..contracts.output import PackagingWarning, WarningSeverity
from ..interface_check import INTERFACE_KEYS, config_problem, interface_with_parameters, load_findings
from ..output import CopiedFile, OutputTree
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


_REMEDIATION = "Fix triton_config or the interface in the spec; `portalis inspect` shows the module's interface."


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltModels:
    """Artifacts of the models that could be built, and errors for the others."""

    artifacts: tuple[TritonModelArtifact, ...] = ()
    errors: tuple[StageError, ...] = ()
    warnings: tuple[PackagingWarning, ...] = ()


def add_models(job: Job, tree: OutputTree) -> BuiltModels:
    """Add a model for each module of the package to `tree`."""
    artifacts, errors, warnings = list[TritonModelArtifact](), list[StageError](), list[PackagingWarning]()
    applied = list[tuple[str, tuple[str, ...], tuple[DroppedSetting, ...]]]()
    for module in job.modules:
        name = model_name(job.spec, module.binary)
        try:
            fitted = fit_settings(job.spec, module.binary, partial(_config, module, name))
        except StageError as error:
            errors.append(error)
            continue
        config, settings, folder = fitted.config, fitted.settings, model_folder(job.spec, name)
        applied.append((name, inherited_settings(job.spec, module.binary), fitted.dropped))
        warnings += dropped_setting_warnings(name, fitted.dropped)
        module_path = add_model(
            tree, folder, config, settings, CopiedFile(path=module.path, sha256=module.inspection.sha256)
        )
        artifacts.append(_artifact(job, folder, config, settings.model_version, backend_name(settings), module_path))
        if settings.keep_versions and job.previous is not None:
            kept = add_kept_versions(tree, folder, job.previous, settings.model_version)
            warnings += _unserved_versions(name, settings, kept)
    errors += unused_setting_errors(applied)
    return BuiltModels(artifacts=tuple(artifacts), errors=tuple(errors), warnings=tuple(warnings))


def _config(module: Module, name: str, settings: TritonConfiguration) -> ModelConfig:
    """The module's configuration. Raises StageError with all problems because of which it would not load."""
    interface, reason = _interface(module, settings)
    if runs_wasm(settings):
        _check_loadable(name, module, interface, settings)
    if interface is None and not (settings.inputs and settings.outputs):
        raise _invalid_model(name, [reason or f"{module.path} has no interface"])
    config = build_model_config(ModelSource(name=name, interface=interface, declared=module.binary.interface), settings)
    problems = [str(problem) for problem in check_model_config(config) if problem.severity is ConfigSeverity.ERROR]
    mismatch = config_problem(module.path, to_dict(config)) if runs_wasm(settings) else None
    if problems or mismatch:
        raise _invalid_model(name, [*problems, *([mismatch] if mismatch else [])])
    return config


def _check_loadable(name: str, module: Module, interface: Interface | None, settings: TritonConfiguration) -> None:
    """Raise StageError if the runtime would not load the module, with the remediation of each problem."""
    problems = load_findings(module.path, module.inspection, interface, settings.backend_parameters)
    if problems:
        remediation = " ".join(dict.fromkeys(each.remediation for each in problems))
        raise _invalid_model(name, [each.why for each in problems], remediation)


def _interface(module: Module, settings: TritonConfiguration) -> tuple[Interface | None, str | None]:
    """The interface from the inspection, or from the backend's parameters if they declare it; else None and why."""
    if runs_wasm(settings) and any(key in settings.backend_parameters for key in INTERFACE_KEYS):
        declared = module.binary.interface.model_dump(mode="json", exclude_none=True)
        return interface_with_parameters(module.path, declared, settings.backend_parameters)
    return module.inspection.interface, module.inspection.no_interface


def _invalid_model(name: str, reasons: list[str], remediation: str = _REMEDIATION) -> StageError:
    return StageError(
        ErrorType.TritonConfigError,
        f"model {name!r} would not load: {'; '.join(reasons)}",
        remediation=remediation,
        details=TritonConfigError(failed_models=(name,), config_errors=tuple(reasons)),
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


def _unserved_versions(name: str, settings: TritonConfiguration, kept: list[int]) -> Iterator[PackagingWarning]:
    """A warning for versions that the repository has but the version policy does not serve."""
    policy = settings.version_policy.policy
    if isinstance(policy, LatestVersions):
        served = set(sorted([*kept, settings.model_version])[-policy.Latest :])
    elif policy is VersionPolicyType.All:
        served = {*kept, settings.model_version}
    else:
        served = set(settings.version_policy.versions or ())
    unserved = [str(version) for version in [*kept, settings.model_version] if version not in served]
    if unserved:
        yield PackagingWarning(
            message=f"version {', '.join(unserved)} of model {name!r} is in the repository, but its version policy does"
            " not serve it",
            severity=WarningSeverity.Medium,
            remediation='Set version_policy, for example { policy = "All" } or { policy = { Latest = 2 } }.',
        )


def add_ensembles(job: Job, tree: OutputTree, models: tuple[TritonModelArtifact, ...]) -> BuiltModels:
    """Add the package's ensembles to `tree`. An ensemble with a model that is not in `models` is an error."""
    by_module = {module.name: model_name(job.spec, module.binary) for module in job.modules}
    available = {artifact.model_name for artifact in models} | {each.name for each in job.spec.triton_config.ensembles}
    artifacts, errors = list[TritonModelArtifact](), list[StageError]()
    for ensemble in job.spec.triton_config.ensembles:
        config = build_ensemble_config(ensemble, by_module)
        steps = [step.model_name for step in config.ensemble_scheduling.step]
        problems = [f"its model {name!r} could not be built" for name in steps if name not in available]
        problems += [str(problem) for problem in check_model_config(config) if problem.severity is ConfigSeverity.ERROR]
        if problems:
            errors.append(_invalid_model(ensemble.name, problems))
            continue
        folder = model_folder(job.spec, ensemble.name)
        add_ensemble(tree, folder, config, ensemble)
        artifacts.append(_artifact(job, folder, config, ensemble.version, "ensemble", None))
    return BuiltModels(artifacts=tuple(artifacts), errors=tuple(errors))
