"""Checks of a spec beyond the types of its fields: the invariants and preconditions of requirements 4.1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from ..problems import Problem
from .file_rules import input_rules, output_rules
from .package_spec import PackageSpec
from .triton import TritonConfiguration, VersionPolicyType

_PACKAGE_WIDE = ("model_repository_path", "keep_versions", "ensembles")
TARGETS = (
    "enable_nim_packaging",
    "enable_triton_integration",
    "enable_omniverse_packaging",
    "enable_distribution_archive",
)


def invariant_problems(spec: PackageSpec, folder: Path) -> Iterator[Problem]:
    """All problems of a spec with absolute paths; `folder` is the directory of the spec file."""
    yield from _targets(spec)
    yield from _modules(spec)
    yield from _containers(spec)
    yield from _triton(spec.triton_config, "triton_config")
    for i, module in enumerate(spec.wasm_binaries):
        if module.triton_config is not None:
            where = f"wasm_binaries[{i}].triton_config"
            yield from _triton(module.triton_config, where)
            yield from _package_wide(module.triton_config, where)
    yield from input_rules(spec)
    yield from output_rules(spec, folder)


def _targets(spec: PackageSpec) -> Iterator[Problem]:
    if not any(getattr(spec, target) for target in TARGETS):
        yield Problem(
            where="",
            message="no packaging target is enabled",
            remediation=f"Set one of {', '.join(TARGETS)} to true.",
            also=TARGETS,
        )
    if spec.publish_to_registry and spec.registry_url is None:
        yield Problem(
            where="registry_url",
            message="publish_to_registry is true, but no registry is named",
            remediation="Set registry_url, or set publish_to_registry to false.",
        )


def _modules(spec: PackageSpec) -> Iterator[Problem]:
    by_name: dict[str, list[str]] = {}
    for i, module in enumerate(spec.wasm_binaries):
        by_name.setdefault(module.module_name, []).append(f"wasm_binaries[{i}]")
    for name, locations in by_name.items():
        if len(locations) > 1:
            yield Problem(
                where=locations[-1],
                message=f"{len(locations)} modules are named {name!r} ({', '.join(locations)})",
                remediation="Give each a unique `name`.",
                also=tuple(f"{loc}.{key}" for loc in locations for key in ("name", "path")),
            )


def _containers(spec: PackageSpec) -> Iterator[Problem]:
    config, at = spec.container_config, "container_config"
    for first, second in combinations(("service_port", "grpc_port", "metrics_port"), 2):
        port = getattr(config, second)
        if getattr(config, first) == port:
            yield Problem(
                where=f"{at}.{second}",
                message=f"{first} and {second} are both {port}",
                remediation="Give each a different port.",
                also=(f"{at}.{first}",),
            )
    if config.gpu_count is not None and not config.gpu_required:
        yield Problem(
            where=f"{at}.gpu_count",
            message="gpu_count is set, but gpu_required is false",
            remediation="Set gpu_required to true, or remove gpu_count.",
            also=(f"{at}.gpu_required",),
        )
    mounted = Counter(volume.container_path for volume in config.volumes)
    for i, volume in enumerate(config.volumes):
        if not volume.container_path.startswith("/"):
            message, remediation = f"expected an absolute path, got {volume.container_path!r}", "Begin it with a slash."
        elif mounted[volume.container_path] > 1:
            message, remediation = f"{volume.container_path!r} is mounted more than once", "Mount one volume there."
        else:
            continue
        yield Problem(where=f"{at}.volumes[{i}].container_path", message=message, remediation=remediation)


def _triton(config: TritonConfiguration, at: str) -> Iterator[Problem]:
    policy, where = config.version_policy, f"{at}.version_policy.versions"
    also = (f"{at}.version_policy.policy",)
    specific = policy.policy is VersionPolicyType.Specific
    if specific and not policy.versions:
        yield Problem(
            where=where,
            message="the policy Specific requires a list of versions",
            remediation="List them, such as versions = [1, 2].",
            also=also,
        )
    if policy.versions is not None and not specific:
        yield Problem(
            where=where,
            message="versions are listed, but the policy is not Specific",
            remediation='Set policy = "Specific", or remove versions.',
            also=also,
        )
    repository = config.model_repository_path
    if repository.is_absolute() or ".." in repository.parts or not repository.parts:
        yield Problem(
            where=f"{at}.model_repository_path",
            message=f"expected a directory inside the output directory, got {str(repository)!r}",
            remediation="Write a relative path; to serve the models elsewhere, copy the finished repository there.",
        )


def _package_wide(config: TritonConfiguration, at: str) -> Iterator[Problem]:
    for key in _PACKAGE_WIDE:
        if key in config.model_fields_set:
            yield Problem(
                where=f"{at}.{key}",
                message=f"{key} applies to the whole package",
                remediation=f"Set triton_config.{key} of the package instead.",
            )
