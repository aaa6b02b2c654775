"""The Omniverse target: one Kit extension per package, checked statically and, if requested, in a real Kit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath

from ..contracts.artifacts import OmniversePackageArtifact, PackagedModule
from ..contracts.output import Artifacts, PackagingWarning, ValidationResult, WarningSeverity
from ..output import OutputTree
from ..output.package_layout import OMNIVERSE
from ..problems import Problem
from ..spec.package_spec import PackageSpec
from ..target import Job, TargetResult
from .compatibility import Compatibility, check_kit_compatibility
from .extension_checks import ExtensionFinding, check_extension, check_imports
from .extension_documents import kit_versions_text
from .extension_errors import (
    incompatible_module_error,
    invalid_extension_error,
    no_module_left_error,
    no_node_error,
    no_wheels_error,
)
from .extension_names import extension_id, extension_version
from .extension_registry import write_extension_zip, write_registry
from .extension_rules import extension_problems
from .extension_toml import CONFIG, README
from .extension_tree import build_extension_tree
from .kit import INSTALL_KIT, find_kit, run_extension
from .kit_target import package_id
from .omnigraph import omnigraph_files
from .prebundle import bundled_files
from .selection import SelectedModule, select_modules

_REGISTRY = OMNIVERSE / "registry"


def skip_reason(spec: PackageSpec) -> str | None:
    """The reason to skip the target, or None."""
    return None if spec.enable_omniverse_packaging else "enable_omniverse_packaging is false"


def spec_problems(spec: PackageSpec) -> Iterable[Problem]:
    """Ids, names, versions and images that Kit does not accept."""
    return extension_problems(spec)


def generate(job: Job) -> TargetResult:
    """The extension's files. A module that cannot run in Kit is excluded with an error. StageError if none remains."""
    selected, errors = select_modules(job)
    checked = {each.name: check_kit_compatibility(each.inspection) for each in selected}
    if not job.spec.omniverse_config.validate_wasm_compatibility:
        checked = {}
    errors += [incompatible_module_error(name, result) for name, result in checked.items() if not result.compatible]
    kept = [each for each in selected if each.name not in checked or checked[each.name].compatible]
    if not kept:
        raise no_module_left_error(errors)
    job.report(f"extension {extension_id(job.spec)} with {len(kept)} of {len(kept) + len(errors)} modules")
    tree = OutputTree()
    for entry in build_extension_tree(job.spec, kept, job.created_at):
        tree.add(_root(job.spec) / entry.path, entry.content, executable=entry.executable)
    bundled, without_wheels = bundled_files(job)
    if "prebundle" in job.spec.omniverse_config.model_fields_set:
        errors += map(no_wheels_error, without_wheels)
    nodes, without_node = omnigraph_files(job.spec, kept)
    if without_node and not nodes:
        errors.append(no_node_error(without_node))
    for entry in (*bundled, *nodes):
        tree.add(_root(job.spec) / entry.path, entry.content)
    artifacts = Artifacts(omniverse_packages=(_artifact(job, kept),))
    warnings = (*_warnings(checked), *without_wheels, *without_node)
    return TargetResult(tree=tree, artifacts=artifacts, errors=tuple(errors), warnings=warnings)


def run(job: Job, made: TargetResult) -> TargetResult:
    """Check the written extension, with ``job.live`` also in Kit, and write its archive. The result lists failures."""
    identifier, folder = extension_id(job.spec), job.staging / _root(job.spec)
    findings = check_extension(folder) or check_imports(folder, identifier)
    outputs = tuple(_write_outputs(job, folder, publishable=not findings))
    results = [
        _result(
            identifier,
            "static",
            findings,
            "required keys, files, changelog and version are valid, and its Python modules can be imported",
        )
    ]
    if job.live:
        live_result, live_findings = _validate_live(job, identifier)
        results.append(live_result)
        findings += live_findings
    valid, skipped = all(each.valid for each in results), not all(each.tried for each in results)
    packages = tuple(each.model_copy(update={"validated": valid}) for each in made.artifacts.omniverse_packages)
    return dataclasses.replace(
        made,
        artifacts=made.artifacts.model_copy(update={"omniverse_packages": packages}),
        errors=(*made.errors, *([invalid_extension_error(identifier, findings)] if findings else [])),
        warnings=(*made.warnings, *([_not_validated(identifier)] if skipped else [])),
        validation_results=(*made.validation_results, *results),
        tool_outputs=(*made.tool_outputs, *outputs),
    )


def _write_outputs(job: Job, folder: Path, *, publishable: bool) -> Iterator[PurePosixPath]:
    """Write the archive and the registry, if the spec requests them; the paths of their files.

    Only a `publishable` extension gets a registry, because Kit installs from it without another check.
    """
    config, identifier = job.spec.omniverse_config, package_id(job.spec)
    archive = job.staging / _archive(job.spec) if config.package_as_extension else None
    if archive is not None:
        write_extension_zip(folder, archive)
        yield _archive(job.spec)
    if config.registry and publishable:
        date = int(datetime.fromisoformat(job.created_at.replace("Z", "+00:00")).timestamp())
        for path in write_registry(folder, job.staging / _REGISTRY, package_id=identifier, date=date, packed=archive):
            yield _REGISTRY / path


def _validate_live(job: Job, identifier: str) -> tuple[ValidationResult, list[ExtensionFinding]]:
    """The result of a start in Kit and its findings; no findings if Kit is not installed."""
    python = find_kit()
    if python is None:
        reason = f"not validated, because Omniverse Kit is not installed: {INSTALL_KIT}"
        return ValidationResult(name=identifier, check="live", valid=False, tried=False, report=reason), []
    job.report("starting the extension in Omniverse Kit")
    kit_run = run_extension(python, job.staging / _root(job.spec))
    remediation = "Read Kit's output above; the extension's docs/README.md lists its requirements."
    findings = [ExtensionFinding(what=kit_run.error, remediation=remediation)] if kit_run.error is not None else []
    success = f"started in Kit {kit_run.kit}, and called {', '.join(kit_run.modules)}"
    return _result(identifier, "live", findings, success), findings


def _result(name: str, check: str, findings: Sequence[ExtensionFinding], success: str) -> ValidationResult:
    return ValidationResult(name=name, check=check, valid=not findings, report="; ".join(map(str, findings)) or success)


def _not_validated(identifier: str) -> PackagingWarning:
    return PackagingWarning(
        message=f"the extension {identifier} is not validated: Omniverse Kit is not installed",
        severity=WarningSeverity.Medium,
        remediation=f"Package where Kit can be started: {INSTALL_KIT}.",
    )


def _root(spec: PackageSpec) -> PurePosixPath:
    return OMNIVERSE / "exts" / extension_id(spec)


def _archive(spec: PackageSpec) -> PurePosixPath:
    return OMNIVERSE / f"{package_id(spec)}.zip"


def _artifact(job: Job, kept: Sequence[SelectedModule]) -> OmniversePackageArtifact:
    spec, root = job.spec, _root(job.spec)
    config = spec.omniverse_config
    return OmniversePackageArtifact(
        extension_name=extension_id(spec),
        extension_version=extension_version(spec),
        package_path=job.final(_archive(spec) if config.package_as_extension else root),
        extension_toml_path=job.final(root / CONFIG),
        wasm_modules=tuple(
            PackagedModule(
                module_name=each.name,
                file_path=job.final(root / each.file),
                entry_point=each.entry,
                description=each.description,
            )
            for each in kept
        ),
        readme_path=job.final(root / README),
        examples_path=job.final(root / "examples") if config.example_scenarios else None,
        kit_version_compatibility=kit_versions_text(spec),
        validated=False,  # `run` sets it
    )


def _warnings(checked: dict[str, Compatibility]) -> Iterable[PackagingWarning]:
    for name, result in checked.items():
        for each in result.warnings:
            message = f"module {name} in an Omniverse extension: {each}"
            severity = WarningSeverity(each.severity.value)
            yield PackagingWarning(message=message, severity=severity, remediation=each.remediation)
