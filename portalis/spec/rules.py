"""What a spec has to hold beyond the types of its fields: the invariants and preconditions of requirements 4.1."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..problems import Problem
from .package import PackageSpec
from .paths import paths
from .triton import TritonConfiguration, VersionPolicyType

_FOLDERS = ("wheelhouse", "workspace_root")
_PACKAGE_WIDE = ("model_repository_path", "keep_versions", "ensembles")
TARGETS = (
    "enable_nim_packaging",
    "enable_triton_integration",
    "enable_omniverse_packaging",
    "enable_distribution_archive",
)


def rules(spec: PackageSpec) -> Iterator[Problem]:
    """Everything that is wrong with a spec whose paths are absolute."""
    yield from _targets(spec)
    yield from _modules(spec)
    yield from _containers(spec)
    yield from _triton(spec.triton_config, "triton_config")
    for i, module in enumerate(spec.wasm_binaries):
        if module.triton_config is not None:
            where = f"wasm_binaries[{i}].triton_config"
            yield from _triton(module.triton_config, where)
            yield from _of_the_package(module.triton_config, where)
    yield from _inputs(spec)
    yield from _output(spec)


def _targets(spec: PackageSpec) -> Iterator[Problem]:
    if not any(getattr(spec, target) for target in TARGETS):
        yield Problem(
            where="", message="no packaging target is enabled", remediation=f"Set one of {', '.join(TARGETS)} to true."
        )
    if spec.publish_to_registry and spec.registry_url is None:
        yield Problem(
            where="registry_url", message="publish_to_registry is true, but no registry is named", remediation="Set it."
        )


def _modules(spec: PackageSpec) -> Iterator[Problem]:
    names = [module.module_name for module in spec.wasm_binaries]
    for name, count in Counter(names).items():
        if count > 1:
            places = [f"wasm_binaries[{i}]" for i, each in enumerate(names) if each == name]
            yield Problem(
                where=places[-1],
                message=f"{count} modules are called {name!r} ({', '.join(places)})",
                remediation="Give each a `name` of its own.",
            )


def _containers(spec: PackageSpec) -> Iterator[Problem]:
    config, at = spec.container_config, "container_config"
    if config.service_port == config.metrics_port:
        yield Problem(
            where=f"{at}.metrics_port",
            message=f"service_port and metrics_port are both {config.service_port}",
            remediation="Give the metrics another port.",
        )
    if config.gpu_count is not None and not config.gpu_required:
        yield Problem(
            where=f"{at}.gpu_count",
            message="GPUs are counted, but gpu_required is false",
            remediation="Set it to true.",
        )


def _triton(config: TritonConfiguration, at: str) -> Iterator[Problem]:
    policy = config.version_policy
    specific = policy.policy is VersionPolicyType.Specific
    if specific and not policy.versions:
        yield Problem(
            where=f"{at}.version_policy.versions",
            message="the policy Specific serves the listed versions, and none is listed",
            remediation="List them, such as versions = [1, 2].",
        )
    if policy.versions is not None and not specific:
        yield Problem(
            where=f"{at}.version_policy.versions",
            message="versions are listed, but the policy is not Specific",
            remediation='Set policy = "Specific", or leave the versions out.',
        )
    repository = config.model_repository_path
    if repository.is_absolute() or ".." in repository.parts or not repository.parts:
        yield Problem(
            where=f"{at}.model_repository_path",
            message=f"{str(repository)!r} is not inside the output directory",
            remediation="Write a relative path; to serve the models elsewhere, copy the finished repository there.",
        )


def _of_the_package(config: TritonConfiguration, at: str) -> Iterator[Problem]:
    for key in _PACKAGE_WIDE:
        if key in config.model_fields_set:
            yield Problem(
                where=f"{at}.{key}",
                message=f"{key} is a matter of the whole package",
                remediation="Set it in the package's triton_config.",
            )


def _inputs(spec: PackageSpec) -> Iterator[Problem]:
    for where, path in paths(spec):
        if where == "output_directory":
            continue
        trouble = _no_folder(path) if where.endswith(_FOLDERS) else _no_file(path)
        if trouble:
            yield Problem(where=where, message=f"{path} {trouble}")


def _no_file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        return _why(error)
    if not stat.S_ISREG(mode):
        kinds = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"))
        kind = next((name for is_kind, name in kinds if is_kind(mode)), "a device")
        return f"is {kind}; a regular file is needed"
    return "" if os.access(path, os.R_OK) else "may not be read"


def _no_folder(path: Path) -> str:
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:
        return _why(error)
    return "" if is_folder else "is no directory"


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _output(spec: PackageSpec) -> Iterator[Problem]:
    output, where = spec.output_directory, "output_directory"
    real = output.resolve()
    if output.exists() and not output.is_dir():
        yield Problem(where=where, message=f"{output} is not a directory", remediation="Name another one.")
        return
    if real.parent == real or real == Path.home().resolve() or real == Path.cwd().resolve():
        yield Problem(
            where=where,
            message=f"{output} would be replaced as a whole by every run",
            remediation="Name a folder that holds nothing else, such as build/package.",
        )
        return
    above = next(each for each in real.parents if each.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        yield Problem(
            where=where,
            message=f"{output} cannot be written: {above} is not writable",
            remediation="Name a folder that you may write to; it is created when missing.",
        )
    for at, path in paths(spec):
        source = path.resolve()
        if at != where and source.is_relative_to(real):
            yield Problem(
                where=where,
                message=f"{output} would be replaced together with the input {path} ({at})",
                remediation="Keep inputs outside the output directory.",
            )
        elif at.endswith(_FOLDERS) and real.is_relative_to(source):
            yield Problem(
                where=where,
                message=f"{output} is inside the input directory {path} ({at})",
                remediation="Name a folder outside it.",
            )
